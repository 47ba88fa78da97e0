package demo

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"davy/internal/sigv4"
)

// refusals takes links out of the chain one at a time: each must hold alone.
func (l *lab) refusals() []step {
	return []step{
		{name: "an unsigned request", run: func(ctx context.Context) (string, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.client.endpoint+"/"+l.source(), nil)
			if err != nil {
				return "", err
			}
			resp, err := l.client.http.Do(req)
			if err != nil {
				return "", err
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden {
				return "", fmt.Errorf("answered %s", resp.Status)
			}
			return resp.Status, nil
		}},
		{name: "a wrong secret", run: func(ctx context.Context) (string, error) {
			thief := l.client.as(sigv4.Credentials{AccessKeyID: l.cfg.AccessID, SecretAccessKey: "guess"})
			_, err := thief.s3(ctx, http.MethodGet, l.source(), "", "", nil, nil)
			return expectRefusal(err, http.StatusForbidden, "SignatureDoesNotMatch")
		}},
		{name: "a trigger on a function that does not let the bucket in", run: func(ctx context.Context) (string, error) {
			name := "closed-" + l.suffix
			if _, err := l.createFunction(ctx, name, l.cfg.Runtimes[0], variants[1], l.roleARN, l.destination()); err != nil {
				return "", err
			}
			return expectRefusal(l.putNotification(ctx, l.source(), l.functionARN(name)), http.StatusBadRequest, "InvalidArgument")
		}},
		{name: "a copy by a role that may not write", run: l.copyWithoutWrite},
	}
}

// copyWithoutWrite runs the function with a role that may only read.
func (l *lab) copyWithoutWrite(ctx context.Context) (string, error) {
	role, name := "reader-"+l.suffix, "reader-"+l.suffix
	roleARN, err := l.createRole(ctx, role)
	if err != nil {
		return "", err
	}
	doc := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::%s/*"},%s]}`, l.source(), logActions)
	if _, err := l.client.iam(ctx, "PutRolePolicy", map[string]string{"RoleName": role, "PolicyName": "read", "PolicyDocument": doc}); err != nil {
		return "", err
	}
	if _, err := l.createFunction(ctx, name, l.cfg.Runtimes[0], variants[1], roleARN, l.destination()); err != nil {
		return "", err
	}
	if _, err := l.client.s3(ctx, http.MethodPut, l.source(), "in/refused.png", "", nil, []byte("x")); err != nil {
		return "", err
	}
	event := map[string]any{"Records": []any{map[string]any{"s3": map[string]any{
		"bucket": map[string]any{"name": l.source()}, "object": map[string]any{"key": "in/refused.png"},
	}}}}
	a, err := l.client.lambda(ctx, http.MethodPost, "/"+name+"/invocations", map[string]string{"X-Amz-Log-Type": "Tail"}, event)
	if err != nil {
		return "", err
	}
	if a.header.Get("X-Amz-Function-Error") == "" {
		return "", fmt.Errorf("the function succeeded: %s", a.body)
	}
	tail, err := base64.StdEncoding.DecodeString(a.header.Get("X-Amz-Log-Result"))
	if err != nil {
		return "", err
	}
	if !strings.Contains(string(tail), "AccessDenied") {
		return "", fmt.Errorf("no AccessDenied in its log:\n%s", tail)
	}
	if _, err := l.client.s3(ctx, http.MethodHead, l.destination(), "in/refused.png", "", nil, nil); err == nil {
		return "", errors.New("the copy is there")
	}
	return "AccessDenied in its log, nothing written", nil
}

func expectRefusal(err error, status int, code string) (string, error) {
	var r *refusal
	if !errors.As(err, &r) {
		return "", fmt.Errorf("want %d %s, got %w", status, code, errors.Join(err, errors.New("no refusal")))
	}
	if r.Status != status || r.Code != code {
		return "", fmt.Errorf("want %d %s, got %w", status, code, r)
	}
	return r.Code, nil
}
