package main

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"davy/test/davytest"
)

// account is a running server and a user of it who may do what the measures
// do, and whose every request is judged: not the root user.
type account struct {
	server *davytest.Server
	log    *bytes.Buffer
	root   *client
	user   *client
	role   string // ARN, for functions
	made   int    // names given
}

const accountID = "000000000000"

const userPolicy = `{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":["lambda:*","s3:*","logs:*"],"Resource":"*"},
{"Effect":"Allow","Action":"iam:PassRole","Resource":"arn:aws:iam::` + accountID + `:role/bench"}]}`

const rolePolicy = `{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":["logs:CreateLogGroup","logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"},
{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"*"}]}`

const trustLambda = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// newServer prepares a server on an empty data directory.
func newServer(o options) (*davytest.Server, *bytes.Buffer, error) {
	dir, err := davytest.DataDir()
	if err != nil {
		return nil, nil, err
	}
	log := &bytes.Buffer{}
	return &davytest.Server{Bin: o.davy, Data: dir, Log: log}, log, nil
}

func (o options) serveFlags() []string { return []string{"--runtimes", o.runtimes, "--drain", "2s"} }

// openAccount makes the user and the role on a server that runs.
func openAccount(ctx context.Context, s *davytest.Server, log *bytes.Buffer) (*account, error) {
	id, secret, err := s.RootKey()
	if err != nil {
		return nil, err
	}
	a := &account{server: s, log: log, root: newClient(s.API, id, secret)}
	for _, step := range []struct {
		action string
		params map[string]string
	}{
		{"CreateRole", map[string]string{"RoleName": "bench", "AssumeRolePolicyDocument": trustLambda}},
		{"PutRolePolicy", map[string]string{"RoleName": "bench", "PolicyName": "work", "PolicyDocument": rolePolicy}},
		{"CreateUser", map[string]string{"UserName": "bench"}},
		{"PutUserPolicy", map[string]string{"UserName": "bench", "PolicyName": "work", "PolicyDocument": userPolicy}},
	} {
		if err := a.root.iam(ctx, step.action, step.params, nil); err != nil {
			return nil, err
		}
	}
	var key struct {
		ID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		Secret string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	if err := a.root.iam(ctx, "CreateAccessKey", map[string]string{"UserName": "bench"}, &key); err != nil {
		return nil, err
	}
	a.user = newClient(s.API, key.ID, key.Secret)
	a.role = "arn:aws:iam::" + accountID + ":role/bench"
	return a, nil
}

// close stops the server and removes what it kept.
func (a *account) close() error {
	a.root.close()
	a.user.close()
	if err := a.server.Stop(); err != nil {
		return fmt.Errorf("stop the server: %w\n%s", err, a.log)
	}
	return os.RemoveAll(filepath.Dir(a.server.Data))
}

// name returns a name that nothing has yet.
func (a *account) name(prefix string) string {
	a.made++
	return fmt.Sprintf("%s-%d", prefix, a.made)
}

// zipOf packs one file, which may be executed, as a deployment package.
func zipOf(file string, text []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	header := &zip.FileHeader{Name: file, Method: zip.Deflate}
	header.SetMode(0o755)
	f, err := w.CreateHeader(header)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return buf.Bytes(), err
}

// The functions. Each gets a processor of its own: the share that a small
// function is held to is not Davy's speed.
const (
	wholeProcessor = 1769 // MB
	helloCode      = `exports.handler = async (event) => event;`
	sdkCode        = `const { S3Client } = require('@aws-sdk/client-s3');
exports.handler = async (event) => typeof S3Client;`
	sleepCode = `exports.handler = () => new Promise((done) => setTimeout(done, 60000));`
	copyCode  = `const { S3Client, GetObjectCommand, PutObjectCommand } = require('@aws-sdk/client-s3');
const s3 = new S3Client({});
exports.handler = async (event) => {
  const { bucket, object } = event.Records[0].s3;
  const got = await s3.send(new GetObjectCommand({ Bucket: bucket.name, Key: object.key }));
  await s3.send(new PutObjectCommand({
    Bucket: process.env.DESTINATION, Key: object.key, Body: Buffer.from(await got.Body.transformToByteArray()),
  }));
};`
)

// function is what a function is made of.
type function struct {
	runtime, handler, file string
	text                   []byte
	env                    map[string]string
}

// js is a function of the managed runtime that most measures are about.
func (o options) js(text string) function {
	return function{runtime: o.runtime, handler: "index.handler", file: "index.js", text: []byte(text)}
}

// create makes a function and returns its name.
func (a *account) create(ctx context.Context, kind string, f function) (string, error) {
	z, err := zipOf(f.file, f.text)
	if err != nil {
		return "", err
	}
	name := a.name(kind)
	_, err = a.user.lambda(ctx, http.MethodPost, "/2015-03-31/functions", map[string]any{
		"FunctionName": name, "Runtime": f.runtime, "Role": a.role, "Handler": f.handler,
		"Code": map[string]any{"ZipFile": z}, "Timeout": 120, "MemorySize": wholeProcessor,
		"Environment": map[string]any{"Variables": f.env},
	})
	return name, err
}

func functionARN(name string) string {
	return "arn:aws:lambda:" + region + ":" + accountID + ":function:" + name
}
