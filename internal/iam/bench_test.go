package iam

import (
	"fmt"
	"testing"

	"davy/api/iamapi"
	"davy/internal/policy"
	"davy/internal/state/statetest"
)

// populated is an account with n users, each with an access key, and n roles.
func populated(b *testing.B, n int) *fixture {
	b.Helper()
	store := statetest.NewMemory()
	open(b, store) // makes the account
	var changes []change
	commit := func() {
		batch, err := batch("", changes)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := store.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		changes = nil
	}
	for i := range n {
		k := accessKey{ID: newAccessKeyID("AKIA", account), Secret: newSecret(), Active: true}
		u := &record{
			Kind: userKind, Name: fmt.Sprintf("user-%05d", i), Path: "/", ID: newID("AIDA"), Keys: []accessKey{k},
			Inline: []inlinePolicy{{"p", allow("s3:GetObject")}}, Attached: []string{"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"},
		}
		r := &record{
			Kind: roleKind, Name: fmt.Sprintf("role-%05d", i), Path: "/", ID: newID("AROA"), MaxSession: defaultMaxSession,
			Trust: trustAWS("arn:aws:iam::000000000000:root"), Inline: []inlinePolicy{{"p", allow("s3:GetObject")}},
		}
		changes = append(changes, change{nil, u}, change{nil, r}, change{nil, &keyRecord{ID: k.ID, Owner: u.ID}})
		if len(changes) > 900 {
			commit()
		}
	}
	commit()
	return open(b, store)
}

// BenchmarkScale: what a request costs does not grow with the directory.
func BenchmarkScale(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		f := populated(b, n)
		now := f.snap.Load()
		user := now.find(userKind, fmt.Sprintf("user-%05d", n/2))
		ctx := f.as(f.root)
		run := func(name string, op func() error) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := op(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		p := f.lookup(user.Keys[0].ID, "")
		run("Authorise", func() error {
			if _, err := f.peers.Lookup(ctx, user.Keys[0].ID, ""); err != nil {
				return err
			}
			g, err := f.peers.Grants(ctx, p)
			d := policy.Decide(&policy.Request{
				Principal: policy.Principal{ARN: p.ARN, Account: p.Account, UserID: p.UserID},
				Action:    "s3:GetObject", Resource: "arn:aws:s3:::b/k", Grants: &g,
			})
			if err == nil && !d.Allowed {
				b.Fatal(d.Explain())
			}
			return err
		})
		run("GetUser", func() error {
			return second(f.GetUser(ctx, &iamapi.GetUserRequest{UserName: &user.Name}))
		})
		run("ListUsers", func() error {
			return second(f.ListUsers(ctx, &iamapi.ListUsersRequest{MaxItems: new(int32(10))}))
		})
		first, err := f.ListRoles(ctx, &iamapi.ListRolesRequest{MaxItems: new(int32(min(n/2, 1000)))})
		if err != nil {
			b.Fatal(err)
		}
		run("ListRolesFurther", func() error {
			return second(f.ListRoles(ctx, &iamapi.ListRolesRequest{MaxItems: new(int32(10)), Marker: first.Marker}))
		})
		run("AuthorizationDetails", func() error {
			return second(f.GetAccountAuthorizationDetails(ctx, &iamapi.GetAccountAuthorizationDetailsRequest{MaxItems: new(int32(10))}))
		})
		run("SimulatePrincipalPolicy", func() error {
			return second(f.SimulatePrincipalPolicy(ctx, &iamapi.SimulatePrincipalPolicyRequest{PolicySourceArn: &p.ARN, ActionNames: []string{"s3:GetObject"}}))
		})
		i := 0
		run("CreateUser", func() error {
			i++
			return second(f.CreateUser(ctx, &iamapi.CreateUserRequest{UserName: new(fmt.Sprintf("new-%d-%d", b.N, i))}))
		})
	}
}
