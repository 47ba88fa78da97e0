//go:build linux

package main

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"
)

// function is a function of the service's test.
type function struct {
	name, runtime, file, code string
	memory                    int
}

const (
	role        = "guest"
	source      = "guest-source"
	destination = "guest-destination"
)

// greedy takes what it is told to: memory, processes or processor time. Its
// memory is an odd number, by which its control group is found.
var greedy = function{"greedy", "nodejs22.x", "index.js", `
const { execFileSync } = require('child_process');
const threads = [
  'import threading', 'threading.stack_size(131072)', 'end, n = threading.Event(), 0',
  'try:', '  while n < 3000:', '    threading.Thread(target=end.wait, daemon=True).start()', '    n += 1',
  'except RuntimeError as e: print(n, e)', 'else: print(n, "and no end")',
].join('\n');
exports.handler = async (e) => {
  if (e.take === 'memory') for (const hold = []; ;) hold.push(Buffer.alloc(1 << 20, 1));
  if (e.take === 'processor') {
    const began = process.hrtime.bigint(), used = process.cpuUsage();
    while (process.hrtime.bigint() - began < 10_000_000_000n);
    const u = process.cpuUsage(used);
    return (u.user + u.system) / Number((process.hrtime.bigint() - began) / 1000n);
  }
  if (e.take === 'processes') return String(execFileSync('/usr/bin/python3', ['-c', threads])).trim();
  return 'ok';
};`, 907}

var copier = function{"copier", "nodejs22.x", "index.mjs", `
import { S3Client, CopyObjectCommand } from '@aws-sdk/client-s3';
const s3 = new S3Client({});
export const handler = async (e) => {
  const { bucket, object } = e.Records[0].s3;
  await s3.send(new CopyObjectCommand({ Bucket: '` + destination + `', CopySource: bucket.name + '/' + object.key, Key: object.key }));
};`, 512}

// prepare makes what the checks use: the role, both functions, the buckets, and
// the trigger between them.
func (c *client) prepare(ctx context.Context) error {
	err := c.iam(ctx, "CreateRole", "RoleName", role, "AssumeRolePolicyDocument",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)
	if err != nil {
		return err
	}
	err = c.iam(ctx, "PutRolePolicy", "RoleName", role, "PolicyName", "copy", "PolicyDocument",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","logs:*"],"Resource":"*"}]}`)
	if err != nil {
		return err
	}
	for _, f := range []function{greedy, copier} {
		if err := c.create(ctx, f); err != nil {
			return err
		}
	}
	for _, b := range []string{source, destination} {
		if _, err := c.s3(ctx, "PUT", "/"+b, nil); err != nil {
			return err
		}
	}
	if _, err := c.lambda(ctx, "POST", "/copier/policy", map[string]any{
		"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "SourceArn": "arn:aws:s3:::" + source, "SourceAccount": account,
	}); err != nil {
		return err
	}
	_, err = c.s3(ctx, "PUT", "/"+source+"?notification=", fmt.Appendf(nil,
		`<NotificationConfiguration><CloudFunctionConfiguration><CloudFunction>arn:aws:lambda:%s:%s:function:copier</CloudFunction>`+
			`<Event>s3:ObjectCreated:*</Event></CloudFunctionConfiguration></NotificationConfiguration>`, region, account))
	return err
}

// key and content of the object with a number.
func object(n int) (key string, content []byte) {
	return fmt.Sprintf("object-%05d", n), bytes.Repeat(fmt.Appendf(nil, "object %d of the guest\n", n), 200)
}

func (c *client) put(ctx context.Context, n int) error {
	key, content := object(n)
	_, err := c.s3(ctx, "PUT", "/"+source+"/"+key, content)
	return err
}

// copied waits until the object with a number has been copied.
func (c *client) copied(ctx context.Context, n int) error {
	key, content := object(n)
	return eventually(ctx, 10*time.Minute, func() error { return c.has(ctx, destination, key, content) })
}

func (c *client) has(ctx context.Context, bucket, key string, content []byte) error {
	got, err := c.s3(ctx, "GET", "/"+bucket+"/"+key, nil)
	if err == nil && !bytes.Equal(got, content) {
		err = fmt.Errorf("%s of %s has %d bytes that are not its %d", key, bucket, len(got), len(content))
	}
	return err
}

// eventually asks again until there is no error.
func eventually(ctx context.Context, within time.Duration, ask func() error) error {
	for end := time.Now().Add(within); ; {
		err := ask()
		if err == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("for %s: %w", within, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

func zipOf(name, content string) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create(name)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write([]byte(strings.TrimSpace(content))); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}
