//go:build linux

package load

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ, which is 100 on every Linux architecture that Go knows.
const tick = 10 * time.Millisecond

// Usage is what a process and all its descendants have used.
type Usage struct {
	CPU    time.Duration // user and system, of all threads, and of children that have ended
	Memory int64         // resident bytes; what several of the processes share is counted once
}

// Used returns the usage of the process and of its descendants. Processes that end while it looks are left out.
func Used(pid int) (u Usage, err error) {
	tree, err := descendants(pid)
	if err != nil {
		return u, err
	}
	for _, pid := range tree {
		cpu, err := cpuTime(pid)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return u, err
		}
		memory, err := memory(pid)
		if err != nil {
			return u, err
		}
		u.CPU += cpu
		u.Memory += memory
	}
	return u, nil
}

// descendants returns the process and all that it and they have started.
func descendants(pid int) ([]int, error) {
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", tree[i]))
		if err != nil {
			return nil, err
		}
		if i == 0 && len(tasks) == 0 {
			return nil, fmt.Errorf("no process %d, or a kernel without /proc/PID/task/TID/children", pid)
		}
		for _, task := range tasks {
			text, err := os.ReadFile(task)
			if err != nil {
				continue // the thread has ended
			}
			for _, field := range bytes.Fields(text) {
				child, err := strconv.Atoi(string(field))
				if err != nil {
					return nil, fmt.Errorf("%s: %w", task, err)
				}
				tree = append(tree, child)
			}
		}
	}
	return tree, nil
}

func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name stands in parentheses and may hold anything. After it come the fields 3 and up; utime, stime, cutime and cstime are 14 to 17.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 15 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	var sum time.Duration
	for _, field := range fields[11:15] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// memory returns the resident set of a process, with each page that others have too divided among them.
func memory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, nil // it has ended, which Used has no need to tell
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
			kib, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte("kB")))), 10, 64)
			return kib << 10, err
		}
	}
	return 0, nil
}
