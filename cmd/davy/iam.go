package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"davy/internal/operator"
)

// runIAM explains a decision of a running server.
func runIAM(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "explain" {
		return errors.New("usage: davy iam explain --principal ARN --action ACTION [--resource ARN] [--context KEY=VALUE] (-h lists the flags)")
	}
	q := operator.Question{Context: map[string][]string{}}
	fs := flag.NewFlagSet("davy iam explain", flag.ContinueOnError)
	fs.SetOutput(stderr)
	data := fs.String("data-dir", dataDirSetting(), "data `directory` of the server")
	fs.StringVar(&q.Principal, "principal", "", "`ARN` of a user, role, session or root user, or a service (s3.amazonaws.com); empty: anonymous")
	fs.StringVar(&q.Action, "action", "", "`action`, such as s3:GetObject")
	fs.StringVar(&q.Resource, "resource", "*", "`ARN` of the resource")
	fs.Func("context", "condition key and value, `KEY=VALUE`; a key that is given again has several", func(s string) error {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return errors.New("KEY=VALUE is expected")
		}
		q.Context[k] = append(q.Context[k], v)
		return nil
	})
	asJSON := fs.Bool("json", false, "print the answer as JSON, with the message for `aws sts decode-authorization-message`")
	if err := parseFlags(fs, args[1:]); err != nil {
		return usageError{err}
	}
	if fs.NArg() > 0 || !strings.Contains(q.Action, ":") {
		return errors.New("--action SERVICE:OPERATION is needed, and nothing beside flags")
	}
	client, err := operator.Open(*data)
	if err != nil {
		return err
	}
	a, err := client.Explain(ctx, q)
	if err != nil {
		return err
	}
	if *asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(a)
	}
	return printAnswer(stdout, &a)
}

func printAnswer(w io.Writer, a *operator.Answer) error {
	fmt.Fprintln(w, a.Decision)
	if a.Message != "" {
		fmt.Fprintf(w, "AWS's words: %s\n", a.Message)
	}
	if a.Deciding != nil {
		fmt.Fprintf(w, "\n%s of %s %s:\n%s\n", a.Deciding.Name, a.Deciding.Type, a.Deciding.Policy, a.Deciding.Text)
	}
	for _, s := range a.Matched {
		if a.Deciding == nil || s != *a.Deciding {
			fmt.Fprintf(w, "\napplies too: %s of %s %s\n", s.Name, s.Type, s.Policy)
		}
	}
	return nil
}
