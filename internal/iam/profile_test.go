package iam

import (
	"strings"
	"testing"

	"davy/api/iamapi"
)

func TestInstanceProfile_Lifecycle(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	f.role("r", trustLambda)
	f.role("other", trustLambda)
	made := must(f.CreateInstanceProfile(ctx, &iamapi.CreateInstanceProfileRequest{InstanceProfileName: new("P"), Path: new("/x/"), Tags: []iamapi.Tag{{Key: new("a"), Value: new("1")}}}))(t).InstanceProfile
	if *made.Arn != "arn:aws:iam::000000000000:instance-profile/x/P" || !strings.HasPrefix(*made.InstanceProfileId, "AIPA") || len(made.Roles) != 0 || len(made.Tags) != 1 {
		t.Errorf("made %+v", made)
	}
	must(f.AddRoleToInstanceProfile(ctx, &iamapi.AddRoleToInstanceProfileRequest{InstanceProfileName: new("P"), RoleName: new("r")}))(t)
	got := must(f.GetInstanceProfile(ctx, &iamapi.GetInstanceProfileRequest{InstanceProfileName: new("P")}))(t).InstanceProfile
	if len(got.Roles) != 1 || *got.Roles[0].RoleName != "r" || *got.Roles[0].AssumeRolePolicyDocument == "" {
		t.Errorf("with a role: %+v", got)
	}
	if list := must(f.ListInstanceProfiles(ctx, &iamapi.ListInstanceProfilesRequest{PathPrefix: new("/x/")}))(t).InstanceProfiles; len(list) != 1 || list[0].Tags != nil {
		t.Errorf("list %+v", list)
	}
	if list := must(f.ListInstanceProfilesForRole(ctx, &iamapi.ListInstanceProfilesForRoleRequest{RoleName: new("r")}))(t).InstanceProfiles; len(list) != 1 || *list[0].InstanceProfileName != "P" {
		t.Errorf("of the role: %+v", list)
	}
	if list := must(f.ListInstanceProfilesForRole(ctx, &iamapi.ListInstanceProfilesForRoleRequest{RoleName: new("other")}))(t).InstanceProfiles; len(list) != 0 {
		t.Errorf("of another role: %+v", list)
	}

	for _, tc := range []struct {
		name       string
		call       func() error
		code, text string
	}{
		{"create twice", func() error {
			return second(f.CreateInstanceProfile(ctx, &iamapi.CreateInstanceProfileRequest{InstanceProfileName: new("p")}))
		}, "EntityAlreadyExists", "Instance Profile p already exists."},
		{"a second role", func() error {
			return second(f.AddRoleToInstanceProfile(ctx, &iamapi.AddRoleToInstanceProfileRequest{InstanceProfileName: new("P"), RoleName: new("other")}))
		}, "LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1"},
		{"a role that is not there", func() error {
			return second(f.AddRoleToInstanceProfile(ctx, &iamapi.AddRoleToInstanceProfileRequest{InstanceProfileName: new("P"), RoleName: new("x")}))
		}, "NoSuchEntity", "The role with name x cannot be found."},
		{"remove a role that is not in it", func() error {
			return second(f.RemoveRoleFromInstanceProfile(ctx, &iamapi.RemoveRoleFromInstanceProfileRequest{InstanceProfileName: new("P"), RoleName: new("other")}))
		}, "NoSuchEntity", "The role with name other cannot be found."},
		{"get what is not there", func() error {
			return second(f.GetInstanceProfile(ctx, &iamapi.GetInstanceProfileRequest{InstanceProfileName: new("x")}))
		}, "NoSuchEntity", "Instance Profile x cannot be found."},
		{"tag what is not there", func() error {
			return second(f.TagInstanceProfile(ctx, &iamapi.TagInstanceProfileRequest{InstanceProfileName: new("x")}))
		}, "NoSuchEntity", "Instance Profile x cannot be found."},
		{"delete it with a role", func() error {
			return second(f.DeleteInstanceProfile(ctx, &iamapi.DeleteInstanceProfileRequest{InstanceProfileName: new("P")}))
		}, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first."},
		{"delete the role in it", func() error {
			return second(f.DeleteRole(ctx, &iamapi.DeleteRoleRequest{RoleName: new("r")}))
		}, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first."},
	} {
		t.Run(tc.name, func(t *testing.T) { refused(t, tc.call(), tc.code, tc.text) })
	}

	must(f.TagInstanceProfile(ctx, &iamapi.TagInstanceProfileRequest{InstanceProfileName: new("P"), Tags: []iamapi.Tag{{Key: new("b"), Value: new("2")}}}))(t)
	must(f.UntagInstanceProfile(ctx, &iamapi.UntagInstanceProfileRequest{InstanceProfileName: new("P"), TagKeys: []string{"a"}}))(t)
	if tags := must(f.ListInstanceProfileTags(ctx, &iamapi.ListInstanceProfileTagsRequest{InstanceProfileName: new("P")}))(t).Tags; len(tags) != 1 || *tags[0].Key != "b" {
		t.Errorf("tags %+v", tags)
	}
	must(f.RemoveRoleFromInstanceProfile(ctx, &iamapi.RemoveRoleFromInstanceProfileRequest{InstanceProfileName: new("P"), RoleName: new("r")}))(t)
	must(f.DeleteRole(ctx, &iamapi.DeleteRoleRequest{RoleName: new("r")}))(t)
	must(f.DeleteInstanceProfile(ctx, &iamapi.DeleteInstanceProfileRequest{InstanceProfileName: new("P")}))(t)
	_, err := f.DeleteInstanceProfile(ctx, &iamapi.DeleteInstanceProfileRequest{InstanceProfileName: new("P")})
	refused(t, err, "NoSuchEntity", "Instance Profile P cannot be found.")
}
