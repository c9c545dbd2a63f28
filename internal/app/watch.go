package app

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long nothing must have happened before a change is looked at: an editor takes several steps to write a file.
const settle = 200 * time.Millisecond

// watch reloads when the content of a file changes that the configuration was read from, until ctx ends.
//
// It watches directories, not files: editors put a new file in the place of the old, and Kubernetes moves a symbolic link that the
// path goes through. What happened there matters little; whether the files have another content than at the last look matters.
func (a *App) watch(ctx context.Context) error {
	files := a.current.Load().cfg.Files()
	if len(files) == 0 {
		return nil
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		a.log.Warn("changed files will not be noticed; reload with SIGHUP or POST /v1/reload", "error", err)
		return nil
	}
	defer w.Close()
	a.watchDirectories(w, files)
	seen, _ := contentOf(files)
	timer := time.NewTimer(settle) // the files may have changed since they were loaded
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Events:
			timer.Reset(settle)
		case err := <-w.Errors:
			a.log.Warn("file watch", "error", err)
			timer.Reset(settle) // events may have been lost
		case <-timer.C:
			now, complete := contentOf(files)
			if complete && now != seen {
				seen = now
				_, _ = a.Reload("file change") // it has logged why it was refused
				files = a.current.Load().cfg.Files()
				seen, _ = contentOf(files)
			}
			a.watchDirectories(w, files)
		}
	}
}

// watchDirectories watches the directories of the files, and those that symbolic links lead to. What is watched already stays.
func (a *App) watchDirectories(w *fsnotify.Watcher, files []string) {
	for _, f := range files {
		for _, dir := range directories(f) {
			if err := w.Add(dir); err != nil {
				a.log.Warn("changes will not be noticed there", "directory", dir, "error", err)
			}
		}
	}
}

func directories(file string) []string {
	dirs := []string{filepath.Dir(file)}
	if target, err := filepath.EvalSymlinks(file); err == nil && filepath.Dir(target) != dirs[0] {
		dirs = append(dirs, filepath.Dir(target))
	}
	return dirs
}

// contentOf returns a hash over the contents of the files. complete is false where one cannot be read, which is so for a moment
// while it is being replaced.
func contentOf(files []string) (sum [sha256.Size]byte, complete bool) {
	h := sha256.New()
	for _, name := range files {
		if !addFile(h, name) {
			return sum, false
		}
	}
	return [sha256.Size]byte(h.Sum(nil)), true
}

func addFile(h io.Writer, name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	inner := sha256.New()
	if _, err := io.Copy(inner, f); err != nil {
		return false
	}
	fmt.Fprintf(h, "%x\n", inner.Sum(nil))
	return true
}
