// Command bootstrap is the runtime of the benchmark's function for
// provided.al2023: it answers each event with the event.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
package main

import (
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	base := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		if err := answer(base); err != nil {
			log.Fatal(err)
		}
	}
}

func answer(base string) error {
	next, err := http.Get(base + "next")
	if err != nil {
		return err
	}
	// The event ends with its request, whose body goes back as it comes.
	defer next.Body.Close()
	done, err := http.Post(base+next.Header.Get("Lambda-Runtime-Aws-Request-Id")+"/response", "application/json", next.Body)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, done.Body)
	done.Body.Close()
	return err
}
