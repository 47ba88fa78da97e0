package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// echoScript is the least that answers an event in Node: what a warm Invoke is
// held against. It ends with its standard input, and so with this program.
const echoScript = `
const server = require('node:http').createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const answer = JSON.stringify(JSON.parse(Buffer.concat(parts)));
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(answer) });
    response.end(answer);
  });
});
server.keepAliveTimeout = 0;
server.listen(0, '127.0.0.1', () => console.log('http://127.0.0.1:' + server.address().port));
process.stdin.resume().on('end', () => process.exit());
`

// node is the interpreter that the functions run too, without Davy.
type node struct {
	bin     string
	modules string // the SDKs
}

func findNode(runtimes, name string) (node, error) {
	bins, _ := filepath.Glob(filepath.Join(runtimes, name+"-*", "bin", "node"))
	modules, _ := filepath.Glob(filepath.Join(runtimes, "sdk-*", "node_modules"))
	if len(bins) == 0 || len(modules) == 0 {
		return node{}, fmt.Errorf("%s is not installed below %s: run `make setup-demo`", name, runtimes)
	}
	return node{bins[0], modules[0]}, nil
}

// run starts the interpreter on a script and waits until it ends.
func (n node) run(script string) (time.Duration, error) {
	cmd := exec.Command(n.bin, "-e", script)
	cmd.Env = []string{"NODE_PATH=" + n.modules}
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("node -e %q: %w: %.300s", script, err, out)
	}
	return time.Since(began), nil
}

// child is a floor server in a process of its own, which says its address on
// its first line.
type child struct {
	cmd  *exec.Cmd
	in   io.Closer
	base string // http://HOST:PORT
}

func startChild(cmd *exec.Cmd) (*child, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		in.Close()
		return nil, errors.Join(fmt.Errorf("%s did not start: %w", cmd.Path, err), cmd.Wait())
	}
	return &child{cmd, in, strings.TrimSpace(l)}, nil
}

// stop ends the child: it leaves when its standard input does.
func (c *child) stop() error {
	c.in.Close()
	return c.cmd.Wait()
}

// floors are the servers that Davy is held against.
type floors struct {
	echo   *child // node:http
	files  *child // Go's net/http on plain files
	dir    string
	client struct{ echo, files *client }
}

func startFloors(n node) (_ *floors, err error) {
	f := &floors{}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.stop())
		}
	}()
	if f.dir, err = os.MkdirTemp("", "davy-bench-floor-"); err != nil {
		return nil, err
	}
	if f.echo, err = startChild(exec.Command(n.bin, "-e", echoScript)); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if f.files, err = startChild(exec.Command(self, "-floor", f.dir)); err != nil {
		return nil, err
	}
	f.client.echo = newClient(f.echo.base, "AKIAFLOOR", "floor")
	f.client.files = newClient(f.files.base, "AKIAFLOOR", "floor")
	return f, nil
}

func (f *floors) stop() error {
	var errs []error
	for _, c := range []*child{f.echo, f.files} {
		if c != nil {
			errs = append(errs, c.stop())
		}
	}
	if f.dir != "" {
		errs = append(errs, os.RemoveAll(f.dir))
	}
	return errors.Join(errs...)
}

// serveFloor is Go's net/http on plain files: PUT writes, syncs and renames,
// GET reads, POST takes an event and forgets it.
func serveFloor(dir string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		l.Close()
	}()
	fmt.Printf("http://%s\n", l.Addr())
	err = http.Serve(l, floorHandler(dir))
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func floorHandler(dir string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := writeDurable(filepath.Join(dir, filepath.Base(r.PathValue("name"))), r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /{name}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(dir, filepath.Base(r.PathValue("name"))))
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

// writeDurable replaces a file so that a crash leaves the old one or the new.
func writeDurable(path string, from io.Reader) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".part-")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}
