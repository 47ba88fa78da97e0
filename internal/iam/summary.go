package iam

import (
	"context"

	"davy/api/iamapi"
)

// Quotas of an account. AWS's are lower and can be raised on request; these are
// what Davy's directory is made for.
const (
	usersPerAccount            = 20_000
	groupsPerAccount           = 500
	rolesPerAccount            = 20_000
	policiesPerAccount         = 10_000
	profilesPerAccount         = 10_000
	policyVersionsPerAccount   = policiesPerAccount * policyVersions
	globalEndpointTokenVersion = 1 // tokens are good in every region
)

// room refuses another record of a kind when the account is full of them.
func (s *snapshot) room(k kind) error {
	quota, name := 0, ""
	switch k {
	case userKind:
		quota, name = usersPerAccount, "UsersPerAccount"
	case groupKind:
		quota, name = groupsPerAccount, "GroupsPerAccount"
	case roleKind:
		quota, name = rolesPerAccount, "RolesPerAccount"
	case profileKind:
		quota, name = profilesPerAccount, "InstanceProfilesPerAccount"
	case providerKind:
		quota, name = providersPerAccount, "OpenIdConnectProvidersPerAccount"
	}
	if len(s.records[k]) >= quota {
		return limitExceeded("Cannot exceed quota for %s: %d", name, quota)
	}
	return nil
}

// GetAccountSummary counts what the account has and tells its quotas. What
// Davy does not have, such as MFA devices and certificates, counts 0.
func (s *Service) GetAccountSummary(context.Context, *iamapi.GetAccountSummaryInput) (*iamapi.GetAccountSummaryResponse, error) {
	now := s.snap.Load()
	count := func(k kind) int32 { return int32(len(now.records[k])) }
	var versions, keys int32
	for _, p := range now.byName {
		versions += int32(len(p.Versions))
	}
	if len(now.account.Keys) > 0 {
		keys = 1
	}
	return &iamapi.GetAccountSummaryResponse{SummaryMap: map[iamapi.SummaryKeyType]int32{
		iamapi.SummaryKeyTypeUsers:               count(userKind),
		iamapi.SummaryKeyTypeGroups:              count(groupKind),
		iamapi.SummaryKeyTypeRoles:               count(roleKind),
		iamapi.SummaryKeyTypeInstanceProfiles:    count(profileKind),
		iamapi.SummaryKeyTypeProviders:           count(providerKind),
		iamapi.SummaryKeyTypePolicies:            int32(len(now.byName)),
		iamapi.SummaryKeyTypePolicyVersionsInUse: versions,
		iamapi.SummaryKeyTypeServerCertificates:  0,
		iamapi.SummaryKeyTypeMFADevices:          0,
		iamapi.SummaryKeyTypeMFADevicesInUse:     0,

		iamapi.SummaryKeyTypeAccountAccessKeysPresent:          keys,
		iamapi.SummaryKeyTypeAccountMFAEnabled:                 0,
		iamapi.SummaryKeyTypeAccountPasswordPresent:            0,
		iamapi.SummaryKeyTypeAccountSigningCertificatesPresent: 0,
		iamapi.SummaryKeyTypeGlobalEndpointTokenVersion:        globalEndpointTokenVersion,

		iamapi.SummaryKeyTypeUsersQuota:                      usersPerAccount,
		iamapi.SummaryKeyTypeGroupsQuota:                     groupsPerAccount,
		iamapi.SummaryKeyTypeRolesQuota:                      rolesPerAccount,
		iamapi.SummaryKeyTypePoliciesQuota:                   policiesPerAccount,
		iamapi.SummaryKeyTypeInstanceProfilesQuota:           profilesPerAccount,
		iamapi.SummaryKeyTypeServerCertificatesQuota:         0,
		iamapi.SummaryKeyTypePolicyVersionsInUseQuota:        policyVersionsPerAccount,
		iamapi.SummaryKeyTypeSigningCertificatesPerUserQuota: 0,

		iamapi.SummaryKeyTypeAccessKeysPerUserQuota:        keysPerUser,
		iamapi.SummaryKeyTypeGroupsPerUserQuota:            groupsPerUser,
		iamapi.SummaryKeyTypeUserPolicySizeQuota:           int32(userKind.inlineSize()),
		iamapi.SummaryKeyTypeGroupPolicySizeQuota:          int32(groupKind.inlineSize()),
		iamapi.SummaryKeyTypeRolePolicySizeQuota:           int32(roleKind.inlineSize()),
		iamapi.SummaryKeyTypeAssumeRolePolicySizeQuota:     trustPolicySize,
		iamapi.SummaryKeyTypeAttachedPoliciesPerUserQuota:  attachedPolicies,
		iamapi.SummaryKeyTypeAttachedPoliciesPerGroupQuota: attachedPolicies,
		iamapi.SummaryKeyTypeAttachedPoliciesPerRoleQuota:  attachedPolicies,
		iamapi.SummaryKeyTypeVersionsPerPolicyQuota:        policyVersions,
		iamapi.SummaryKeyTypePolicySizeQuota:               managedPolicySize,
	}}, nil
}
