package server

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/gateway/localca"
)

// installation is the files of the data directory that belong to no engine:
// the certificate authority and the files that AWS clients read.
type installation struct {
	dir string
	// lend runs a write on a full disk with space that was kept for that. nil:
	// there is none.
	lend func(write func() error) error
}

func (i installation) path(elem ...string) string {
	return filepath.Join(append([]string{i.dir}, elem...)...)
}

// authority loads the certificate authority, making it at the first start.
func (i installation) authority(suffixes ...string) (*localca.CA, error) {
	cert, err := os.ReadFile(i.path("ca.pem"))
	if errors.Is(err, fs.ErrNotExist) {
		if err := i.makeAuthority(); err != nil {
			return nil, err
		}
		cert, err = os.ReadFile(i.path("ca.pem"))
	}
	if err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	key, err := os.ReadFile(i.path("ca-key.pem"))
	if err != nil {
		return nil, fmt.Errorf("read CA key: %w", err)
	}
	return localca.Load(cert, key, suffixes...)
}

func (i installation) makeAuthority() error {
	cert, key, err := localca.Generate(time.Now())
	if err != nil {
		return err
	}
	// The key first: a certificate without its key could not be replaced.
	if err := writeFile(i.path("ca-key.pem"), key, 0o600); err != nil {
		return fmt.Errorf("write CA key: %w", err)
	}
	if err := writeFile(i.path("ca.pem"), cert, 0o644); err != nil {
		return fmt.Errorf("write CA certificate: %w", err)
	}
	return nil
}

// profileName is the profile that the client files hold.
const profileName = "davy"

// clientFiles writes the credentials and the configuration that AWS clients
// read, unless they say the same already.
// https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
func (i installation) clientFiles(accessID, secret, endpoint string) error {
	return i.profile(profileName, accessID, secret, endpoint)
}

// profile writes one profile and leaves the others as they are.
func (i installation) profile(name, accessID, secret, endpoint string) error {
	credentials := fmt.Sprintf("[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", name, accessID, secret)
	if err := i.keep("credentials", name, credentials, 0o600); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	config := fmt.Sprintf("[profile %s]\nregion = us-east-1\nendpoint_url = %s\n", name, endpoint)
	if err := i.keep("config", "profile "+name, config, 0o644); err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	return nil
}

// keep is keepSection that may use the space kept for a full disk.
func (i installation) keep(file, name, section string, mode fs.FileMode) error {
	err := keepSection(i.path(file), name, section, mode)
	if errors.Is(err, unix.ENOSPC) && i.lend != nil {
		return i.lend(func() error { return keepSection(i.path(file), name, section, mode) })
	}
	return err
}

// stale tells of client files that a full disk keeps as they are, and reports
// whether that is all that err is: nobody is helped by a server that does not
// start for it.
func (i installation) stale(log *slog.Logger, err error) bool {
	if !errors.Is(err, unix.ENOSPC) {
		return false
	}
	log.Error("the disk is too full to bring the files for AWS clients up to date", "directory", i.dir, "error", err)
	return true
}

// keepSection replaces one section of an AWS configuration file and leaves the
// others, which are the user's.
func keepSection(path, name, section string, mode fs.FileMode) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var out bytes.Buffer
	write := func(text []byte) {
		if out.Len() > 0 && bytes.HasPrefix(text, []byte("[")) {
			out.WriteByte('\n')
		}
		out.Write(text)
	}
	inside, written := false, false
	for line := range bytes.Lines(old) {
		trimmed := bytes.TrimSpace(line)
		if bytes.HasPrefix(trimmed, []byte("[")) {
			if inside = string(trimmed) == "["+name+"]"; inside && !written {
				write([]byte(section))
				written = true
			}
		}
		if !inside && len(trimmed) > 0 {
			write(append(bytes.TrimRight(line, "\r\n"), '\n'))
		}
	}
	if !written {
		write([]byte(section))
	}
	if bytes.Equal(old, out.Bytes()) {
		return nil
	}
	return writeFile(path, out.Bytes(), mode)
}

// writeFile replaces a file durably: a crash leaves the old one or the new.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
