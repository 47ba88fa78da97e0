// Command bootstrap is a function in Go on AWS's unmodified runtime client.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

type event struct {
	Do  string
	Key string
}

var calls int

func handle(ctx context.Context, e event) (any, error) {
	calls++
	switch e.Do {
	case "count":
		return calls, nil
	case "fail":
		return nil, errors.New("it failed")
	case "panic":
		panic("at once")
	case "exit":
		os.Exit(6)
	case "stream":
		return io.MultiReader(strings.NewReader(`"in `), strings.NewReader(`parts"`)), nil
	case "context":
		lc, ok := lambdacontext.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		fmt.Println("seen", lc.AwsRequestID)
		return []any{ok, lambdacontext.FunctionName, lc.InvokedFunctionArn, lc.ClientContext.Custom["a"], time.Until(deadline) < 11*time.Minute, lc.AwsRequestID != ""}, nil
	case "read":
		client := s3.New(s3.Options{
			Region: os.Getenv("AWS_REGION"),
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{
					AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN"),
				}, nil
			}),
		})
		got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("source"), Key: &e.Key})
		if err != nil {
			return nil, err
		}
		defer got.Body.Close()
		b, err := io.ReadAll(got.Body)
		return len(b), err
	}
	return nil, fmt.Errorf("unknown %q", e.Do)
}

func main() { lambda.Start(handle) }
