package invoke

import (
	"context"
	"sync"
	"testing"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

// Durable events, from the request to the acknowledgement, 64 callers.
func BenchmarkEvent_Enqueue(b *testing.B) {
	d, store, err := crashing(b.Context(), b.TempDir(), func(context.Context, string) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	publish(b, d)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// The same, and every event runs.
func BenchmarkEvent_EnqueueAndRun(b *testing.B) {
	var ran sync.WaitGroup
	ran.Add(b.N)
	d, store, err := crashing(b.Context(), b.TempDir(), func(context.Context, string) error {
		ran.Done()
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	d.queue.free, d.queue.cfg.Workers, d.queue.hide = 512, 512, visibility
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	publish(b, d)
	ran.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

// publish sends b.N events.
func publish(b *testing.B, d *Dispatcher) {
	b.Helper()
	payload := []byte(`{"text":"` + string(make1K()) + `"}`)
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		ctx := awsapi.WithCall(b.Context(), &awsapi.Call{RequestID: "r"})
		for pb.Next() {
			if _, err := d.Invoke(ctx, &lambdaapi.InvocationRequest{FunctionName: new("fn"), InvocationType: new(lambdaapi.InvocationTypeEvent), Payload: payload}); err != nil {
				b.Error(err)
			}
		}
	})
}

func make1K() []byte {
	b := make([]byte, 1000)
	for i := range b {
		b[i] = 'x'
	}
	return b
}
