package sqlite

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"davy/internal/state"
)

// parallel runs op from n goroutines and reports operations a second.
func parallel(b *testing.B, n int, op func(i int64) error) {
	b.Helper()
	var next atomic.Int64
	b.SetParallelism(max(1, n/2)) // times GOMAXPROCS
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := op(next.Add(1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "op/s")
}

func BenchmarkEnqueue(b *testing.B) {
	body := make([]byte, 1024)
	for _, n := range []int{2, 64, 512} {
		b.Run(fmt.Sprintf("publishers=%d", n), func(b *testing.B) {
			s := open(b, Config{})
			parallel(b, n, func(i int64) error {
				_, err := s.Commit(b.Context(), state.Batch{Send: []state.Msg{{Queue: fmt.Sprint("q", i%100), Body: body}}})
				return err
			})
		})
	}
}

func BenchmarkReceiveAndSettle(b *testing.B) {
	s := open(b, Config{})
	body := make([]byte, 1024)
	for range b.N/32 + 1 {
		commit(b, s, state.Batch{Send: func() (out []state.Msg) {
			for range 32 {
				out = append(out, state.Msg{Queue: "q", Body: body})
			}
			return out
		}()})
	}
	b.ResetTimer()
	for n := 0; n < b.N; {
		ds, err := s.Receive(b.Context(), "q", 32, time.Hour)
		if err != nil || len(ds) == 0 {
			b.Fatal(len(ds), err)
		}
		batch := state.Batch{}
		for _, d := range ds {
			batch.Settle = append(batch.Settle, state.Settle{Receipt: d.Receipt, Delete: true})
		}
		commit(b, s, batch)
		n += len(ds)
	}
}

func BenchmarkDoc(b *testing.B) {
	s := open(b, Config{})
	value := make([]byte, 2048)
	for i := range 1000 {
		commit(b, s, state.Batch{Ops: []state.Op{{Key: fmt.Sprintf("d/%04d", i), Value: value, IfRev: state.Any}}})
	}
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if _, err := s.Get(b.Context(), fmt.Sprintf("d/%04d", i%1000)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("commit", func(b *testing.B) {
		for i := range b.N {
			commit(b, s, state.Batch{Ops: []state.Op{{Key: fmt.Sprintf("d/%04d", i%1000), Value: value, IfRev: state.Any}}})
		}
	})
	b.Run("list1000", func(b *testing.B) {
		for range b.N {
			if docs, err := s.List(b.Context(), "d/", "", 1000); err != nil || len(docs) != 1000 {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRowPut(b *testing.B) {
	for _, size := range []int{400, 16 << 10} {
		b.Run(fmt.Sprintf("writers=16/size=%d", size), func(b *testing.B) {
			s := open(b, Config{})
			value := make([]byte, size)
			parallel(b, 16, func(int64) error {
				_, err := s.Commit(b.Context(), state.Batch{Ops: []state.Op{{Space: "objects/bucket", Key: fmt.Sprintf("key/%016x", rand.Uint64()), Value: value, IfRev: state.Any}}})
				return err
			})
		})
	}
}
