package app

import (
	"context"
	"crypto/sha256"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

// settle is how long nothing must have happened before a change is looked at: an editor takes several steps to write a file.
const settle = 200 * time.Millisecond

// watch reloads when the content of a file changes that the configuration was read from, until ctx ends.
//
// It watches directories, not files: editors put a new file in the place of the old, and Kubernetes moves a symbolic link that the
// path goes through. What happened there matters little; whether the files have another content than what was loaded matters.
func (a *App) watch(ctx context.Context) error {
	if len(a.current.Load().cfg.Files()) == 0 {
		return nil
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		a.log.Warn("changed files will not be noticed; reload with SIGHUP or POST /v1/reload", "error", err)
		return nil
	}
	defer w.Close()
	a.watchDirectories(w)
	timer := time.NewTimer(settle) // they may have changed before they were watched
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
			if a.filesChanged() {
				_, _ = a.Reload("file change") // it has logged why it was refused
			}
			a.watchDirectories(w)
		}
	}
}

// watchDirectories watches the directories of the files, and those that symbolic links lead to. What is watched already stays.
func (a *App) watchDirectories(w *fsnotify.Watcher) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	for _, f := range a.files {
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

// filesChanged reports whether the files differ from what was loaded last, were it refused or not. A file that cannot be read, as
// for a moment while it is being replaced, is no difference.
func (a *App) filesChanged() bool {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	now := contentsOf(a.files)
	return len(now) == len(a.files) && !maps.Equal(now, a.contents)
}

// read loads the configuration, and notes which files that took and what was in them. What is noted is never newer than what was
// loaded, so that no change is missed. The caller holds reloading, or is alone.
func (a *App) read() (*config.Config, config.Warnings, error) {
	before := contentsOf(a.files)
	cfg, warnings, err := config.Load(a.o.Config)
	if err == nil {
		a.files = cfg.Files()
	}
	a.contents = contentsOf(a.files)
	for name := range a.contents {
		if sum, ok := before[name]; ok {
			a.contents[name] = sum
		}
	}
	return cfg, warnings, err
}

// contentsOf returns a hash of each file that can be read.
func contentsOf(files []string) map[string][sha256.Size]byte {
	sums := map[string][sha256.Size]byte{}
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil {
			sums[name] = sha256.Sum256(b)
		}
	}
	return sums
}
