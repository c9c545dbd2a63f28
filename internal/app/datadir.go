package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

var errLocked = errors.New("another instance uses it; give each its own data_dir")

// openDataDir makes the directory for what outlives the process, and locks it until Close or the end of Run. Only what needs it calls
// it; further calls do nothing.
func (a *App) openDataDir(cfg *config.Config) error {
	if a.dataLock != nil {
		return nil
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(cfg.DataDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if err := lock(f); err != nil {
		f.Close() // nothing was written
		return fmt.Errorf("data_dir %s: %w", cfg.DataDir, err)
	}
	a.dataLock = f
	return nil
}

// closeDataDir gives the lock back. The file stays: to remove it would let two instances lock two files of one name.
func (a *App) closeDataDir() {
	if a.dataLock != nil {
		a.dataLock.Close() // which unlocks it
	}
}
