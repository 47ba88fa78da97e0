package execenv

import "testing"

func TestInvoke_Hello(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`exports.handler = async (event) => { console.log("hi", event.name); return { hello: event.name }; };`)
	out := b.invoke(f, `{"name":"Davy"}`)
	if got := string(out.Payload); got != `{"hello":"Davy"}` || out.FunctionError != "" {
		t.Fatalf("outcome = %q %q; log:\n%s", got, out.FunctionError, out.LogTail)
	}
	t.Logf("%v %v\n%s", out.InitDuration, out.Duration, out.LogTail)
	out = b.invoke(f, `{"name":"Davy"}`)
	t.Logf("%v %v\n%s%q", out.InitDuration, out.Duration, out.LogTail, b.logs.all())
}
