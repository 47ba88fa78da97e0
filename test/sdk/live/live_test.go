// Package live_test drives a real davy with AWS's SDK for Go: the lab, and what
// must hold when much happens at once or the server is killed.
package live_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"davy/test/davytest"
)

const account = "000000000000"

// world is a server and clients as root.
type world struct {
	*davytest.Server
	config aws.Config
	s3     *s3.Client
	iam    *iam.Client
	lambda *lambda.Client
	log    *bytes.Buffer
}

func start(t *testing.T) *world {
	t.Helper()
	bin, err := davytest.Binary()
	if err != nil {
		t.Skip(err)
	}
	if os.Getenv("DAVY_RUNTIMES") == "" {
		t.Skip("no runtimes: run `make sdk`, which installs them")
	}
	data, err := davytest.DataDir()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Server: &davytest.Server{Bin: bin, Data: data}, log: &bytes.Buffer{}}
	w.Log = w.log
	t.Cleanup(func() {
		w.Kill()
		if t.Failed() {
			t.Logf("server log:\n%s", w.log)
		}
		os.RemoveAll(filepath.Dir(data))
	})
	w.up(t)
	return w
}

// up starts the server and makes clients for its address.
func (w *world) up(t *testing.T, flags ...string) {
	t.Helper()
	if err := w.Start(flags...); err != nil {
		t.Fatalf("start: %v\n%s", err, w.log)
	}
	id, secret, err := w.RootKey()
	if err != nil {
		t.Fatal(err)
	}
	w.config = aws.Config{
		Region: "us-east-1", BaseEndpoint: &w.API,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
		}),
		HTTPClient: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		Retryer:    func() aws.Retryer { return aws.NopRetryer{} },
	}
	w.s3 = s3.NewFromConfig(w.config, func(o *s3.Options) { o.UsePathStyle = true })
	w.iam = iam.NewFromConfig(w.config)
	w.lambda = lambda.NewFromConfig(w.config)
}

// copier is the lab's function, which keeps what it copied.
const copier = `const { S3Client, GetObjectCommand, PutObjectCommand } = require('@aws-sdk/client-s3');
const s3 = new S3Client({});
exports.handler = async (event) => {
  const { bucket, object } = event.Records[0].s3;
  const key = decodeURIComponent(object.key.replace(/\+/g, ' '));
  const got = await s3.send(new GetObjectCommand({ Bucket: bucket.name, Key: key }));
  await s3.send(new PutObjectCommand({ Bucket: 'destination', Key: key, ContentType: got.ContentType,
    Body: Buffer.from(await got.Body.transformToByteArray()) }));
};
`

// lab makes buckets, role, function and trigger.
func (w *world) lab(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	for _, b := range []string{"source", "destination"} {
		if _, err := w.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &b}); err != nil {
			t.Fatal(err)
		}
	}
	role, err := w.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("copier"), AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("copier"), PolicyName: aws.String("copy"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::source/*"},` +
			`{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::destination/*"},{"Effect":"Allow","Action":"logs:*","Resource":"*"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	fn, err := w.lambda.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("copier"), Role: role.Role.Arn, Runtime: lambdatypes.RuntimeNodejs22x, Handler: aws.String("index.handler"),
		Code: &lambdatypes.FunctionCode{ZipFile: zipped(t, "index.js", copier)}, Timeout: aws.Int32(600), MemorySize: aws.Int32(512),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.lambda.AddPermission(ctx, &lambda.AddPermissionInput{
		FunctionName: aws.String("copier"), StatementId: aws.String("s3"), Action: aws.String("lambda:InvokeFunction"),
		Principal: aws.String("s3.amazonaws.com"), SourceArn: aws.String("arn:aws:s3:::source"), SourceAccount: aws.String(account),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.s3.PutBucketNotificationConfiguration(ctx, &s3.PutBucketNotificationConfigurationInput{
		Bucket: aws.String("source"), NotificationConfiguration: &s3types.NotificationConfiguration{
			LambdaFunctionConfigurations: []s3types.LambdaFunctionConfiguration{{
				LambdaFunctionArn: fn.FunctionArn, Events: []s3types.Event{s3types.EventS3ObjectCreated},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func zipped(t *testing.T, name, content string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	f, err := w.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func bodyOf(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return bytes.Repeat(sum[:], 64)
}

func (w *world) put(ctx context.Context, key string) error {
	_, err := w.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("source"), Key: &key, Body: bytes.NewReader(bodyOf(key)), ContentType: aws.String("image/png")})
	return err
}

// expectCopies waits until every key is in the destination, whole.
func (w *world) expectCopies(t *testing.T, keys []string) {
	t.Helper()
	deadline := time.Now().Add(3 * davytest.Limit)
	missing := keys
	for {
		var still []string
		for _, key := range missing {
			if err := w.checkCopy(t.Context(), key); err != nil {
				var status interface{ HTTPStatusCode() int }
				if !errors.As(err, &status) || status.HTTPStatusCode() != http.StatusNotFound {
					t.Fatalf("copy of %q: %v", key, err)
				}
				still = append(still, key)
			}
		}
		if missing = still; len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d uploads were never copied: %q", len(missing), len(keys), missing[:min(5, len(missing))])
		}
		time.Sleep(100 * time.Millisecond) // a client waiting for what happens by itself
	}
}

func (w *world) checkCopy(ctx context.Context, key string) error {
	got, err := w.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("destination"), Key: &key})
	if err != nil {
		return err
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		return err
	}
	if !bytes.Equal(body, bodyOf(key)) || aws.ToString(got.ContentType) != "image/png" {
		return fmt.Errorf("the copy differs: %d bytes of %s", len(body), aws.ToString(got.ContentType))
	}
	return nil
}

// Sixteen uploads at once to a function that has never run: all are copied.
func TestUploads_SixteenAtOnceToColdFunction(t *testing.T) {
	w := start(t)
	w.lab(t)
	var keys []string
	var uploads sync.WaitGroup
	for i := range 16 {
		key := fmt.Sprintf("at once/%02d + ü.png", i)
		keys = append(keys, key)
		uploads.Go(func() {
			if err := w.put(t.Context(), key); err != nil {
				t.Errorf("upload %q: %v", key, err)
			}
		})
	}
	uploads.Wait()
	w.expectCopies(t, keys)
}

// The server is killed in the middle of 500 uploads: each one that was
// answered is there after a restart and ends up copied.
func TestUploads_SurviveKill(t *testing.T) {
	w := start(t)
	w.lab(t)
	const total, killAfter = 500, 180
	var mu sync.Mutex
	var acknowledged []string
	enough := make(chan struct{})
	next := make(chan string)
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for key := range next {
				if w.put(t.Context(), key) != nil {
					continue // not acknowledged: nothing is promised
				}
				mu.Lock()
				if acknowledged = append(acknowledged, key); len(acknowledged) == killAfter {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	killed := make(chan struct{})
	go func() {
		<-enough
		w.Kill()
		close(killed)
	}()
	for i := range total {
		if i == total-100 { // before which more than enough are acknowledged
			<-killed
		}
		next <- fmt.Sprintf("object-%03d.png", i)
	}
	close(next)
	clients.Wait()
	<-killed
	if n := len(acknowledged); n == total {
		t.Fatal("the kill came too late to prove anything")
	}
	w.up(t)
	for _, key := range acknowledged {
		got, err := w.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("source"), Key: &key})
		if err != nil {
			t.Fatalf("acknowledged upload %q is gone: %v", key, err)
		}
		body, err := io.ReadAll(got.Body)
		got.Body.Close()
		if err != nil || !bytes.Equal(body, bodyOf(key)) {
			t.Fatalf("acknowledged upload %q differs: %d bytes, %v", key, len(body), err)
		}
	}
	w.expectCopies(t, acknowledged)
	t.Logf("%d uploads were acknowledged before the kill, all were copied", len(acknowledged))
}
