package iam

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"davy/api/iamapi"
)

func TestOpenIDConnectProvider_Lifecycle(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	thumb := strings.Repeat("aB", 20)
	made := must(f.CreateOpenIDConnectProvider(ctx, &iamapi.CreateOpenIDConnectProviderRequest{
		Url: new("https://id.example.com/realms/Main"), ClientIDList: []string{"one", "two", "one"}, ThumbprintList: []string{thumb},
		Tags: []iamapi.Tag{{Key: new("a"), Value: new("1")}},
	}))(t)
	id := *made.OpenIDConnectProviderArn
	if id != "arn:aws:iam::000000000000:oidc-provider/id.example.com/realms/Main" || len(made.Tags) != 1 {
		t.Errorf("made %+v", made)
	}
	must(f.AddClientIDToOpenIDConnectProvider(ctx, &iamapi.AddClientIDToOpenIDConnectProviderRequest{OpenIDConnectProviderArn: &id, ClientID: new("three")}))(t)
	must(f.AddClientIDToOpenIDConnectProvider(ctx, &iamapi.AddClientIDToOpenIDConnectProviderRequest{OpenIDConnectProviderArn: &id, ClientID: new("three")}))(t)
	must(f.RemoveClientIDFromOpenIDConnectProvider(ctx, &iamapi.RemoveClientIDFromOpenIDConnectProviderRequest{OpenIDConnectProviderArn: &id, ClientID: new("one")}))(t)
	must(f.RemoveClientIDFromOpenIDConnectProvider(ctx, &iamapi.RemoveClientIDFromOpenIDConnectProviderRequest{OpenIDConnectProviderArn: &id, ClientID: new("absent")}))(t)
	must(f.UpdateOpenIDConnectProviderThumbprint(ctx, &iamapi.UpdateOpenIDConnectProviderThumbprintRequest{OpenIDConnectProviderArn: &id, ThumbprintList: []string{strings.Repeat("0", 40)}}))(t)
	got := must(f.GetOpenIDConnectProvider(ctx, &iamapi.GetOpenIDConnectProviderRequest{OpenIDConnectProviderArn: &id}))(t)
	if *got.Url != "id.example.com/realms/Main" || !slices.Equal(got.ClientIDList, []string{"two", "three"}) || got.ThumbprintList[0] != strings.Repeat("0", 40) || len(got.Tags) != 1 {
		t.Errorf("got %+v", got)
	}
	must(f.TagOpenIDConnectProvider(ctx, &iamapi.TagOpenIDConnectProviderRequest{OpenIDConnectProviderArn: &id, Tags: []iamapi.Tag{{Key: new("b"), Value: new("2")}}}))(t)
	must(f.UntagOpenIDConnectProvider(ctx, &iamapi.UntagOpenIDConnectProviderRequest{OpenIDConnectProviderArn: &id, TagKeys: []string{"a"}}))(t)
	if tags := must(f.ListOpenIDConnectProviderTags(ctx, &iamapi.ListOpenIDConnectProviderTagsRequest{OpenIDConnectProviderArn: &id}))(t).Tags; len(tags) != 1 || *tags[0].Key != "b" {
		t.Errorf("tags %+v", tags)
	}
	if list := must(f.ListOpenIDConnectProviders(ctx, &iamapi.ListOpenIDConnectProvidersRequest{}))(t).OpenIDConnectProviderList; len(list) != 1 || *list[0].Arn != id {
		t.Errorf("list %+v", list)
	}
	// Deleting twice is no error.
	for range 2 {
		must(f.DeleteOpenIDConnectProvider(ctx, &iamapi.DeleteOpenIDConnectProviderRequest{OpenIDConnectProviderArn: &id}))(t)
	}
	_, err := f.GetOpenIDConnectProvider(ctx, &iamapi.GetOpenIDConnectProviderRequest{OpenIDConnectProviderArn: &id})
	refused(t, err, "NoSuchEntity", "OpenIDConnect Provider not found for arn "+id)
}

func TestOpenIDConnectProvider_Refusals(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	create := func(url string, clients, thumbs []string) error {
		return second(f.CreateOpenIDConnectProvider(ctx, &iamapi.CreateOpenIDConnectProviderRequest{Url: &url, ClientIDList: clients, ThumbprintList: thumbs}))
	}
	if err := create("https://id.example.com", nil, nil); err != nil {
		t.Fatal(err)
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprint("client-", i)
	}
	for _, tc := range []struct {
		name       string
		err        error
		code, text string
	}{
		{"twice", create("https://id.example.com", nil, nil), "EntityAlreadyExists", "Provider with url https://id.example.com already exists."},
		{"without TLS", create("http://id.example.com/a", nil, nil), "ValidationError", "Invalid Open ID Connect Provider URL"},
		{"with a port", create("https://id.example.com:8443", nil, nil), "ValidationError", "Invalid Open ID Connect Provider URL"},
		{"with a query", create("https://id.example.com/?a=b", nil, nil), "ValidationError", "Invalid Open ID Connect Provider URL"},
		{"in capitals", create("HTTPS://a.example.com", nil, nil), "ValidationError", "Invalid Open ID Connect Provider URL"},
		{"without a host", create("https:///path", nil, nil), "ValidationError", "Invalid Open ID Connect Provider URL"},
		{"with a password", create("https://a:b@id.example.com", nil, nil), "ValidationError", "Invalid Open ID Connect Provider URL"},
		{"too many clients", create("https://a.example.com", many, nil), "LimitExceeded", "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100"},
		{"too many thumbprints", create("https://a.example.com", nil, make([]string, 6)), "InvalidInput", "Thumbprint list must contain fewer than 5 entries."},
		{"a thumbprint that is none", create("https://a.example.com", nil, []string{strings.Repeat("g", 40)}), "InvalidInput", "Thumbprint must be"},
		{"another kind of ARN", second(f.GetOpenIDConnectProvider(ctx, &iamapi.GetOpenIDConnectProviderRequest{OpenIDConnectProviderArn: new("arn:aws:iam::000000000000:role/x")})), "InvalidInput", "Invalid ARN"},
		{"delete another kind of ARN", second(f.DeleteOpenIDConnectProvider(ctx, &iamapi.DeleteOpenIDConnectProviderRequest{OpenIDConnectProviderArn: new("arn:aws:iam::000000000000:role/x")})), "InvalidInput", "Invalid ARN"},
		{"another account's", second(f.GetOpenIDConnectProvider(ctx, &iamapi.GetOpenIDConnectProviderRequest{OpenIDConnectProviderArn: new("arn:aws:iam::111111111111:oidc-provider/id.example.com")})), "NoSuchEntity", "OpenIDConnect Provider not found"},
	} {
		t.Run(tc.name, func(t *testing.T) { refused(t, tc.err, tc.code, tc.text) })
	}
}

// FuzzIssuer: a URL that is taken gives an ARN that finds its provider again.
func FuzzIssuer(f *testing.F) {
	for _, s := range []string{"https://id.example.com", "https://a/b/c/", "https://[::1]", "https://%41.example.com/", "http://a", "https://a/../b", "http://localhost:8080/x", "HTTPS://a", "https://A\u212a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := issuer(text)
		if err != nil {
			return
		}
		if "https://"+name != text && "http://"+name != text {
			t.Fatalf("%q became %q", text, name)
		}
		r := &record{Kind: providerKind, Name: name, Path: "/", ID: "x"}
		s := &snapshot{account: &accountRecord{Account: account}, records: map[kind]map[string]*record{providerKind: {}}, order: map[kind][]*record{}, byID: map[string]*record{}}
		s.put(r)
		id := r.arn(account)
		if found, err := s.providerByARN(&id); err != nil || found != r {
			t.Fatalf("%q: %s is not found: %v", text, id, err)
		}
	})
}
