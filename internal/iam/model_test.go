package iam

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"davy/api/iamapi"
	"davy/internal/awsapi"
	"davy/internal/state/statetest"
	"pgregory.net/rapid"
)

// TestSnapshot_isWhatTheStoreHas: after any operations, allowed or refused,
// the directory in memory is the one that a restart would read, and no entity
// refers to what is not there.
func TestSnapshot_isWhatTheStoreHas(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		store := statetest.NewMemory()
		f := open(t, store)
		ctx := f.as(f.root)
		name := rapid.SampledFrom([]string{"a", "A", "b"})
		var keys []string
		var arns []string
		for _, n := range []string{"a", "A", "b"} {
			arns = append(arns, "arn:aws:iam::000000000000:policy/"+n)
		}
		policyARN := rapid.SampledFrom(append(arns, "arn:aws:iam::aws:policy/AdministratorAccess"))
		key := func() *string {
			if len(keys) == 0 {
				return new("AKIAAAAAAAAAAAAAAAAA")
			}
			return new(rapid.SampledFrom(keys).Draw(rt, "key"))
		}
		n := func() *string { return new(name.Draw(rt, "name")) }
		p := func() *string { return new(policyARN.Draw(rt, "policy")) }
		version := func() *string { return new(fmt.Sprintf("v%d", rapid.IntRange(1, 4).Draw(rt, "version"))) }
		ops := map[string]func() error{
			"CreateUser": func() error { return second(f.CreateUser(ctx, &iamapi.CreateUserRequest{UserName: n()})) },
			"DeleteUser": func() error { return second(f.DeleteUser(ctx, &iamapi.DeleteUserRequest{UserName: n()})) },
			"UpdateUser": func() error {
				return second(f.UpdateUser(ctx, &iamapi.UpdateUserRequest{UserName: n(), NewUserName: n()}))
			},
			"CreateGroup": func() error { return second(f.CreateGroup(ctx, &iamapi.CreateGroupRequest{GroupName: n()})) },
			"DeleteGroup": func() error { return second(f.DeleteGroup(ctx, &iamapi.DeleteGroupRequest{GroupName: n()})) },
			"UpdateGroup": func() error {
				return second(f.UpdateGroup(ctx, &iamapi.UpdateGroupRequest{GroupName: n(), NewGroupName: n(), NewPath: new("/x/")}))
			},
			"CreateRole": func() error {
				return second(f.CreateRole(ctx, &iamapi.CreateRoleRequest{RoleName: n(), AssumeRolePolicyDocument: new(trustAWS("arn:aws:iam::000000000000:user/" + *n()))}))
			},
			"DeleteRole": func() error { return second(f.DeleteRole(ctx, &iamapi.DeleteRoleRequest{RoleName: n()})) },
			"AddUserToGroup": func() error {
				return second(f.AddUserToGroup(ctx, &iamapi.AddUserToGroupRequest{UserName: n(), GroupName: n()}))
			},
			"RemoveUserFromGroup": func() error {
				return second(f.RemoveUserFromGroup(ctx, &iamapi.RemoveUserFromGroupRequest{UserName: n(), GroupName: n()}))
			},
			"CreatePolicy": func() error {
				return second(f.CreatePolicy(ctx, &iamapi.CreatePolicyRequest{PolicyName: n(), PolicyDocument: new(allow("s3:*"))}))
			},
			"DeletePolicy": func() error { return second(f.DeletePolicy(ctx, &iamapi.DeletePolicyRequest{PolicyArn: p()})) },
			"CreatePolicyVersion": func() error {
				return second(f.CreatePolicyVersion(ctx, &iamapi.CreatePolicyVersionRequest{PolicyArn: p(), PolicyDocument: new(allow("sqs:*")), SetAsDefault: new(rapid.Bool().Draw(rt, "default"))}))
			},
			"DeletePolicyVersion": func() error {
				return second(f.DeletePolicyVersion(ctx, &iamapi.DeletePolicyVersionRequest{PolicyArn: p(), VersionId: version()}))
			},
			"SetDefaultPolicyVersion": func() error {
				return second(f.SetDefaultPolicyVersion(ctx, &iamapi.SetDefaultPolicyVersionRequest{PolicyArn: p(), VersionId: version()}))
			},
			"AttachUserPolicy": func() error {
				return second(f.AttachUserPolicy(ctx, &iamapi.AttachUserPolicyRequest{UserName: n(), PolicyArn: p()}))
			},
			"DetachUserPolicy": func() error {
				return second(f.DetachUserPolicy(ctx, &iamapi.DetachUserPolicyRequest{UserName: n(), PolicyArn: p()}))
			},
			"AttachGroupPolicy": func() error {
				return second(f.AttachGroupPolicy(ctx, &iamapi.AttachGroupPolicyRequest{GroupName: n(), PolicyArn: p()}))
			},
			"PutUserPermissionsBoundary": func() error {
				return second(f.PutUserPermissionsBoundary(ctx, &iamapi.PutUserPermissionsBoundaryRequest{UserName: n(), PermissionsBoundary: p()}))
			},
			"DeleteUserPermissionsBoundary": func() error {
				return second(f.DeleteUserPermissionsBoundary(ctx, &iamapi.DeleteUserPermissionsBoundaryRequest{UserName: n()}))
			},
			"PutRolePolicy": func() error {
				return second(f.PutRolePolicy(ctx, &iamapi.PutRolePolicyRequest{RoleName: n(), PolicyName: n(), PolicyDocument: new(allow("s3:*"))}))
			},
			"DeleteRolePolicy": func() error {
				return second(f.DeleteRolePolicy(ctx, &iamapi.DeleteRolePolicyRequest{RoleName: n(), PolicyName: n()}))
			},
			"TagUser": func() error {
				return second(f.TagUser(ctx, &iamapi.TagUserRequest{UserName: n(), Tags: []iamapi.Tag{{Key: n(), Value: new("x")}}}))
			},
			"CreateAccessKey": func() error {
				out, err := f.CreateAccessKey(ctx, &iamapi.CreateAccessKeyRequest{UserName: n()})
				if err == nil {
					keys = append(keys, *out.AccessKey.AccessKeyId)
				}
				return err
			},
			"UpdateAccessKey": func() error {
				return second(f.UpdateAccessKey(ctx, &iamapi.UpdateAccessKeyRequest{UserName: n(), AccessKeyId: key(), Status: new(iamapi.StatusTypeInactive)}))
			},
			"DeleteAccessKey": func() error {
				return second(f.DeleteAccessKey(ctx, &iamapi.DeleteAccessKeyRequest{UserName: n(), AccessKeyId: key()}))
			},
		}
		maps.Copy(ops, f.moreOps(ctx, n))
		pickOp := rapid.SampledFrom(slices.Sorted(maps.Keys(ops)))
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			op := pickOp.Draw(rt, "op")
			var refusal awsapi.Error
			if err := ops[op](); err != nil && !errors.As(err, &refusal) {
				rt.Fatalf("%s: %v", op, err)
			}
			now := f.snap.Load()
			fresh, err := load(ctx, f.peers, "")
			if err != nil {
				rt.Fatalf("after %s: %v", op, err)
			}
			if got, want := describe(now), describe(fresh); got != want {
				rt.Fatalf("after %s in memory:\n%s\nin the store:\n%s", op, got, want)
			}
			for id, r := range now.byID {
				if _, err := now.grantsOf(r); err != nil {
					rt.Fatalf("after %s: grants of %s: %v", op, id, err)
				}
				if r.RoleID != "" && now.byID[r.RoleID] == nil {
					rt.Fatalf("after %s: the role of %s is gone", op, r.Name)
				}
				for _, g := range r.Groups {
					if now.byID[g] == nil {
						rt.Fatalf("after %s: %s is in a group that is gone", op, r.Name)
					}
				}
			}
			if len(now.keys) != len(now.keyDocs) {
				rt.Fatalf("after %s: %d keys, %d reserved", op, len(now.keys), len(now.keyDocs))
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }
