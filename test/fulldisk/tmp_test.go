package fulldisk

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"

	"davy/test/davytest"
)

// hoarder writes to /tmp until it may not any more, or keeps a small file.
const hoarder = `const fs = require("fs");
exports.handler = async (e) => {
  if (e.keep) {
    fs.rmSync("/tmp/hoard", { force: true });
    fs.writeFileSync("/tmp/kept", e.keep);
    const fd = fs.openSync("/tmp/kept", "r+"); fs.fsyncSync(fd); fs.closeSync(fd);
    return { kept: fs.readFileSync("/tmp/kept", "utf8") };
  }
  const block = Buffer.alloc(1 << 20, 1);
  let wrote = 0, fd = fs.openSync("/tmp/hoard", "w");
  try {
    for (; wrote < 480; wrote++) { fs.writeSync(fd, block); if (wrote % 8 == 7) fs.fsyncSync(fd); }
    fs.fsyncSync(fd);
  } catch (err) { return { wrote, code: err.code }; } finally { try { fs.closeSync(fd); } catch {} }
  return { wrote };
};`

// A function's volume promises more than the disk has by then.
func TestFull_BelowTmpOfAFunction(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a disk of 768 MB")
	}
	if os.Getenv("DAVY_RUNTIMES") == "" {
		t.Skip("DAVY_RUNTIMES names no installed runtimes: run `make load`")
	}
	w := newWorld(t, 768)
	ctx := t.Context()
	w.must(w.create(ctx, "hoarder", hoarder, 0))
	w.must(w.put(ctx, "first", noise(1<<20)))
	keep := func(when string) bool {
		a := w.must(w.invoke(ctx, "hoarder", "RequestResponse", []byte(`{"keep":"`+when+`"}`)))
		return a.header.Get("X-Amz-Function-Error") == "" && string(a.body) == `{"kept":"`+when+`"}`
	}
	if !keep("before") {
		t.Fatal("the function does not work on an empty disk")
	}

	hoarded := make(chan answer, 1)
	before := w.disk.free(t)
	go func() {
		a, err := w.invoke(ctx, "hoarder", "RequestResponse", []byte(`{}`))
		if err != nil {
			t.Error(err)
		}
		hoarded <- a
	}()
	for deadline := time.Now().Add(davytest.Limit); w.disk.free(t) > before-(16<<20); {
		if time.Now().After(deadline) {
			t.Fatal("the function writes nothing")
		}
		<-time.After(time.Millisecond) // until it is in the middle of it
	}
	w.disk.fillTo(t, 0)
	w.disk.fill(t)
	a := <-hoarded
	var got struct {
		Wrote int
		Code  string
	}
	if err := json.Unmarshal(a.body, &got); err != nil || a.status != http.StatusOK || got.Code != "ENOSPC" && got.Code != "EIO" {
		t.Errorf("a function below which the disk is full: %v %v", a, err)
	}
	t.Logf("%d MiB, then %s", got.Wrote, got.Code)
	w.works("full below a function")
	w.verify("full below a function")

	// The same environment, or another: one that works.
	w.disk.clear(t)
	deadline := time.Now().Add(davytest.Limit)
	for !keep("after") {
		if time.Now().After(deadline) {
			t.Fatal("the function does not work though the disk has room again")
		}
		<-time.After(100 * time.Millisecond) // the launcher looks at the disk now and then
	}
}
