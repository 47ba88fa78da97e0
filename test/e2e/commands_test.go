package e2e_test

import (
	"archive/zip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"davy/test/davytest"
)

var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"davy-up":   davyUp,
	"davy-down": davyDown,
	"davy-kill": davyKill,
	"profile":   profile,
	"zip":       makeZip,
	"random":    makeRandom,
	"until":     until,

	"runtime-node":         runtimeNode,
	"wrong-secret":         wrongSecret,
	"deactivate":           deactivate,
	"cut":                  cut,
	"zip-named":            zipNamed,
	"zip-zeros":            zipZeros,
	"signed-get":           signedGet,
	"presigned-get":        presignedGet,
	"signed-send":          signedSend,
	"signed-send-tampered": signedSendTampered,
	"raw-request":          rawRequest,
	"create-bad":           createBad,
}

type serverKey struct{}

func setup(env *testscript.Env, bin, awsDir string) error {
	data, err := davytest.DataDir()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(env.WorkDir, "server.log"))
	if err != nil {
		return err
	}
	s := &davytest.Server{Bin: bin, Data: data, Log: log}
	env.Values[serverKey{}] = s
	env.Setenv("DATA", data)
	env.Setenv("PATH", awsDir+":"+filepath.Dir(bin)+":"+os.Getenv("PATH"))
	env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	env.Setenv("AWS_PAGER", "")
	env.Setenv("AWS_MAX_ATTEMPTS", "1")
	env.Setenv("DAVY_RUNTIMES", os.Getenv("DAVY_RUNTIMES"))
	env.Setenv("DAVY_CLIENTS", os.Getenv("DAVY_CLIENTS"))
	env.Defer(func() {
		s.Kill()
		log.Close()
		os.RemoveAll(filepath.Dir(data))
	})
	return nil
}

func serverOf(ts *testscript.TestScript) *davytest.Server {
	return ts.Value(serverKey{}).(*davytest.Server)
}

// davy-up [flag...] starts the server on $DATA and waits until it is ready.
// API and CONSOLE are its addresses; the AWS CLI is set up as root.
func davyUp(ts *testscript.TestScript, neg bool, args []string) {
	s := serverOf(ts)
	err := s.Start(args...)
	if neg {
		if err == nil {
			ts.Fatalf("the server started")
		}
		return
	}
	if err != nil {
		ts.Fatalf("davy-up: %v\n%s", err, serverLog(ts))
	}
	ts.Setenv("API", s.API)
	ts.Setenv("CONSOLE", s.Console)
	ts.Setenv("AWS_CONFIG_FILE", filepath.Join(s.Data, "config"))
	ts.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(s.Data, "credentials"))
	ts.Setenv("AWS_PROFILE", "davy")
}

func serverLog(ts *testscript.TestScript) string {
	return ts.ReadFile(filepath.Join(ts.Getenv("WORK"), "server.log"))
}

// davy-down sends SIGTERM and expects a clean exit.
func davyDown(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(serverOf(ts).Stop())
}

// davy-kill kills the server with SIGKILL.
func davyKill(ts *testscript.TestScript, neg bool, args []string) {
	serverOf(ts).Kill()
}

// profile NAME FILE adds the access key in FILE (as `--output text --query
// '[AccessKeyId,SecretAccessKey]'` or with SessionToken prints it) to the
// credentials, and a profile of that name to the configuration.
func profile(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: profile NAME FILE")
	}
	f := strings.Fields(ts.ReadFile(args[1]))
	if len(f) < 2 {
		ts.Fatalf("no access key in %s", args[1])
	}
	creds := fmt.Sprintf("\n[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", args[0], f[0], f[1])
	if len(f) > 2 {
		creds += "aws_session_token = " + f[2] + "\n"
	}
	appendTo(ts, ts.Getenv("AWS_SHARED_CREDENTIALS_FILE"), creds)
	appendTo(ts, ts.Getenv("AWS_CONFIG_FILE"), fmt.Sprintf("\n[profile %s]\nregion = us-east-1\nendpoint_url = %s\n", args[0], ts.Getenv("API")))
}

func appendTo(ts *testscript.TestScript, name, text string) {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	_, err = f.WriteString(text)
	ts.Check(err)
	ts.Check(f.Close())
}

// zip OUT FILE... packs files under their base names.
func makeZip(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: zip OUT FILE...")
	}
	out, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	w := zip.NewWriter(out)
	for _, name := range args[1:] {
		e, err := w.Create(filepath.Base(name))
		ts.Check(err)
		_, err = io.WriteString(e, ts.ReadFile(name))
		ts.Check(err)
	}
	ts.Check(w.Close())
	ts.Check(out.Close())
}

// random FILE SIZE writes bytes that do not compress, the same in every run.
func makeRandom(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: random FILE SIZE")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	out, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = io.CopyN(out, rand.NewChaCha8([32]byte{1}), size)
	ts.Check(err)
	ts.Check(out.Close())
}

// until COMMAND... repeats a command until it succeeds, as a person would who
// waits for something that happens by itself. `! until` is not offered: that
// nothing happens is shown by something later that does.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: until COMMAND...")
	}
	deadline := time.Now().Add(davytest.Limit)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%q never succeeded: %v\nserver log:\n%s", args, err, serverLog(ts))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// runtime-node RUNTIME FILE... runs a program with the Node.js of an installed
// runtime; SDK is the folder whose node_modules has AWS's SDKs.
func runtimeNode(ts *testscript.TestScript, neg bool, args []string) {
	dir := os.Getenv("DAVY_RUNTIMES")
	node, err := filepath.Glob(filepath.Join(dir, args[0]+"-*", "bin", "node"))
	ts.Check(err)
	sdk, err := filepath.Glob(filepath.Join(dir, "sdk-*"))
	ts.Check(err)
	if len(node) == 0 || len(sdk) == 0 {
		ts.Fatalf("%s or the SDKs are not installed in %q", args[0], dir)
	}
	ts.Setenv("SDK", sdk[len(sdk)-1])
	err = ts.Exec(node[len(node)-1], args[1:]...)
	if (err != nil) != neg {
		ts.Fatalf("node: %v\n%s", err, serverLog(ts))
	}
}
