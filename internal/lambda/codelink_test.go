package lambda_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
	"davy/internal/lambda"
)

func TestCodeLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links, err := lambda.NewCodeLinks()
		if err != nil {
			t.Fatal(err)
		}
		f := setup(t)
		s := f.service(t, func(c *lambda.Config) { c.CodeURL = links.URL })
		f.create(t, "fn")
		ctx := awsapi.WithCall(t.Context(), &awsapi.Call{Region: region, Account: account, Secure: true, Request: httptest.NewRequest(http.MethodGet, "https://lambda.test:4566/x", nil)})
		got := must[*lambdaapi.GetFunctionResponse](t)(s.GetFunction(ctx, &lambdaapi.GetFunctionRequest{FunctionName: new("fn")}))
		link, err := url.Parse(*got.Code.Location)
		if err != nil || link.Scheme != "https" || link.Host != "lambda.test:4566" || !strings.HasPrefix(link.Path, lambda.CodePath) {
			t.Fatalf("link = %v, %v", link, err)
		}
		handler := links.Handler(s.CodeZip)
		get := func(method, link string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(method, link, nil))
			return w
		}
		if w := get(http.MethodGet, link.String()); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), zipOf(t, "fn")) || w.Header().Get("Content-Type") != "application/zip" {
			t.Errorf("answer = %d %v", w.Code, w.Header())
		}
		for name, edit := range map[string]func(*url.URL){
			"other package":  func(u *url.URL) { u.Path = strings.TrimSuffix(u.Path, u.Path[len(u.Path)-1:]) + "x" },
			"longer life":    func(u *url.URL) { u.RawQuery = strings.Replace(u.RawQuery, "expires=", "expires=9", 1) },
			"no signature":   func(u *url.URL) { u.RawQuery, _, _ = strings.Cut(u.RawQuery, "&") },
			"no query":       func(u *url.URL) { u.RawQuery = "" },
			"cut signature":  func(u *url.URL) { u.RawQuery = u.RawQuery[:len(u.RawQuery)-1] },
			"path traversal": func(u *url.URL) { u.Path = lambda.CodePath + "../x" },
		} {
			forged := *link
			edit(&forged)
			if w := get(http.MethodGet, forged.String()); w.Code != http.StatusForbidden {
				t.Errorf("%s: %d", name, w.Code)
			}
		}
		if w := get(http.MethodPut, link.String()); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("PUT: %d", w.Code)
		}
		must[*lambdaapi.DeleteFunctionResponse](t)(f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new("fn")}))
		if w := get(http.MethodGet, link.String()); w.Code != http.StatusNotFound {
			t.Errorf("deleted code: %d", w.Code)
		}
		time.Sleep(11 * time.Minute)
		if w := get(http.MethodGet, link.String()); w.Code != http.StatusForbidden {
			t.Errorf("expired link: %d", w.Code)
		}
	})
}
