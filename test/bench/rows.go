package main

import "fmt"

// of reads the median of a series.
func of(series string) reading { return reading{series, median} }

func p99(series string) reading { return reading{series, 0.99} }

// table is every number that Davy promises. The names are those of the JSON
// lines, which are compared over time: they do not change.
func table(e extent) []spec {
	const (
		bareNode = "node -e 0"
		bareSDK  = "node importing it"
		bareEcho = "node:http echo"
		bareFile = "net/http on files"
		bareHand = "GET + PUT by hand"
	)
	rows := []spec{
		{group: "cold", what: "cold start, Node hello, a runtime in the pool, p50", name: "cold_hello_p50", unit: "ms", of: of("cold.hello"), floor: of("cold.hello.floor"), bare: bareNode, goal: goal{ratioAtMost, 0.25}},
		{group: "cold", what: "  p99", name: "cold_hello_p99", unit: "ms", of: p99("cold.hello"), floor: of("cold.hello.floor"), bare: bareNode, goal: goal{ratioAtMost, 1}},
		{group: "cold", what: "  CPU of it, whole tree", name: "cold_hello_cpu", unit: "ms", of: of("cold.hello.cpu")},
		{group: "cold", what: "  in the moment after the function was made, p50", name: "cold_rapid_p50", unit: "ms", of: of("cold.rapid"), floor: of("cold.rapid.floor"), bare: bareNode},
		{group: "cold", what: "  p99", name: "cold_rapid_p99", unit: "ms", of: p99("cold.rapid"), floor: of("cold.rapid.floor"), bare: bareNode},
		{group: "cold", what: "  without the pool, p50", name: "cold_fresh_p50", unit: "ms", of: of("cold.fresh"), floor: of("cold.fresh.floor"), bare: bareNode},
		{group: "cold", what: "cold start, Node with the AWS SDK, a runtime in the pool, p50", name: "cold_sdk_p50", unit: "ms", of: of("cold.sdk"), floor: of("cold.sdk.floor"), bare: bareSDK, goal: goal{ratioAtMost, 0.25}},
		{group: "cold", what: "  without the pool, p50", name: "cold_sdk_fresh_p50", unit: "ms", of: of("cold.sdk.fresh"), floor: of("cold.sdk.fresh.floor"), bare: bareSDK},
		{group: "cold", what: "cold start, Python hello, a runtime in the pool, p50", name: "cold_python_p50", unit: "ms", of: of("cold.python"), floor: of("cold.python.floor"), bare: "python3 -c 0", goal: goal{ratioAtMost, 0.5}},
		{group: "cold", what: "cold start, provided Go binary, p50", name: "cold_provided_p50", unit: "ms", of: of("cold.provided"), floor: of("cold.provided.floor"), bare: "exec to first answer", goal: goal{aboveAtMost, 10}},
		{group: "sustained", what: "isolated cold starts, 4 at a time", name: "cold_sustained", unit: "/s", of: of("sustained"), floor: of("sustained.floor"), bare: bareNode, goal: goal{atLeast, 50}},
		{group: "warm", what: "warm Invoke, 1 client, p50", name: "warm_p50", unit: "ms", of: of("warm"), floor: of("warm.floor"), bare: bareEcho, goal: goal{ratioAtMost, 2}},
		{group: "warm", what: "warm Invoke, 1 client, p99", name: "warm_p99", unit: "ms", of: p99("warm"), floor: p99("warm.floor"), bare: bareEcho},
		{group: "warm", what: "warm Invoke, 16 clients, CPU each, whole tree", name: "warm16_cpu", unit: "ms", of: of("warm16.cpu"), floor: of("warm16.floor.cpu"), bare: bareEcho, goal: goal{atMost, 0.4}},
		{group: "warm", what: "warm Invoke, 16 clients, throughput", name: "warm16_rate", unit: "/s", of: of("warm16.rate"), floor: of("warm16.floor.rate"), bare: bareEcho, goal: goal{ratioAtLeast, 0.33}},
		{group: "warm", what: "warm Invoke, 16 clients, p50", name: "warm16_p50", unit: "ms", of: of("warm16"), floor: of("warm16.floor"), bare: bareEcho},
		{group: "warm", what: "warm Invoke, 16 clients, p99", name: "warm16_p99", unit: "ms", of: p99("warm16"), floor: p99("warm16.floor"), bare: bareEcho},
		{group: "memory", what: "idle Node environment, its control group", name: "idle_environment", unit: "MiB", of: of("memory"), floor: of("memory.floor"), bare: "anonymous memory of node:http echo", goal: goal{atMost, 8}},
		{group: "enqueue", what: "durable enqueue by Invoke, 64 publishers", name: "enqueue_rate", unit: "/s", of: of("enqueue"), floor: of("enqueue.floor"), bare: "net/http that forgets", goal: goal{atLeast, 10_000}},
		{group: "enqueue", what: "  CPU each, whole tree", name: "enqueue_cpu", unit: "ms", of: of("enqueue.cpu"), floor: of("enqueue.floor.cpu"), bare: "net/http that forgets"},
		{group: "enqueue", what: "durable enqueue, the queue alone, 64 publishers", name: "queue_rate", unit: "/s", of: of("queue"), floor: of("queue.floor"), bare: "one file, write + fsync", goal: goal{atLeast, 10_000}},
		{group: "s3", what: "S3 PUT 1 KiB, 16 clients", name: "put_1k_rate", unit: "/s", of: of("put"), floor: of("put.floor"), bare: bareFile, goal: goal{atLeast, 2000}},
		{group: "s3", what: "  CPU each, whole tree", name: "put_1k_cpu", unit: "ms", of: of("put.cpu"), floor: of("put.cpu.floor"), bare: bareFile},
		{group: "s3", what: "  p99", name: "put_1k_p99", unit: "ms", of: p99("put.took"), floor: p99("put.took.floor"), bare: bareFile},
		{group: "s3", what: "S3 GET 1 KiB, 16 clients", name: "get_1k_rate", unit: "/s", of: of("get"), floor: of("get.floor"), bare: bareFile, goal: goal{atLeast, 4000}},
		{group: "s3", what: "  CPU each, whole tree", name: "get_1k_cpu", unit: "ms", of: of("get.cpu"), floor: of("get.cpu.floor"), bare: bareFile},
		{group: "s3", what: "S3 copy 8 MiB", name: "copy_8m_p50", unit: "ms", of: of("copy"), floor: of("copy.floor"), bare: "copy of a file + fsync", goal: goal{atMost, 3}},
		{group: "s3", what: "S3 PUT 8 MiB", name: "put_8m", unit: "MB/s", of: of("bigput"), floor: of("bigput.floor"), bare: bareFile, goal: goal{ratioAtLeast, 0.8}},
		{group: "s3", what: "S3 GET 8 MiB", name: "get_8m", unit: "MB/s", of: of("bigget"), floor: of("bigget.floor"), bare: bareFile, goal: goal{ratioAtLeast, 0.8}},
		{group: "lab", what: "the lab, upload to copy, warm", name: "lab_warm_p50", unit: "ms", of: of("lab.warm"), floor: of("lab.floor"), bare: bareHand, goal: goal{atMost, 25}},
		{group: "lab", what: "the lab, upload to copy, cold, a runtime in the pool", name: "lab_cold_p50", unit: "ms", of: of("lab.cold"), floor: of("lab.floor"), bare: bareHand, goal: goal{atMost, 60}},
		{group: "lab", what: "  in the moment after the function was made", name: "lab_rapid_p50", unit: "ms", of: of("lab.rapid"), floor: of("lab.floor"), bare: bareHand},
		{group: "start", what: "serve, start to ready", name: "start", unit: "ms", of: of("start.again"), floor: of("start.floor"), bare: "davy version", goal: goal{atMost, 150}},
		{group: "start", what: "serve, first start to ready", name: "start_first", unit: "ms", of: of("start.first"), floor: of("start.floor"), bare: "davy version", goal: goal{atMost, 150}},
		{group: "start", what: "serve, idle, resident in all processes", name: "idle_rss", unit: "MiB", of: of("start.rss"), goal: goal{atMost, 60}},
		{group: "start", what: "  with what they share counted once", name: "idle_pss", unit: "MiB", of: of("start.pss"), goal: goal{atMost, 60}},
	}
	for _, q := range []struct{ series, what, name string }{
		{"scale.list-functions", "list functions", "list_functions"},
		{"scale.get-function", "get a function", "get_function"},
		{"scale.list-objects", "list 1,000 objects", "list_objects"},
		{"scale.get-object", "get an object", "get_object"},
		{"scale.invoke", "invoke", "invoke"},
	} {
		rows = append(rows, spec{
			group: "scale", what: fmt.Sprintf("%d functions, %d objects: %s", e.functions, e.objects, q.what), name: fmt.Sprintf("scale_%d_%s", e.functions, q.name), unit: "ms",
			of: of(q.series), floor: of(q.series + ".floor"), bare: "near-empty store", goal: goal{ratioAtMost, 2},
		})
	}
	return rows
}
