// Package iam is the IAM and STS services and the account's directory of
// identities: users, groups, roles, policies, access keys and sessions. The
// gateway authenticates by it (Lookup), authz decides by it (Grants), the data
// plane takes a function's credentials from it (RoleSession).
//
// The directory is held in memory as an immutable snapshot that each change
// replaces, so authentication and authorisation never do I/O. The invariant: a
// snapshot shows only what the store has acknowledged. A change is a
// transaction on the documents it touches, with their revisions as
// preconditions; when another writer was faster, the directory is read again
// and the change tried anew. So two processes on one store cannot break it,
// but one sees the other's changes only then: one process serves a directory.
// Names are unique without regard to case.
//
// Layout in the store, all values JSON:
//
//	iam/account        account id, alias, password policy, root's access keys, the key that seals sessions
//	iam/user/NAME      a user, with its access keys, inline policies, attachments, groups
//	iam/group/NAME     a group
//	iam/role/NAME      a role, with its trust policy
//	iam/instance-profile/NAME
//	                   an instance profile with the id of its role
//	iam/oidc-provider/HOST/PATH
//	                   an OIDC provider
//	iam/policy/NAME    a customer-managed policy with its versions
//	iam/key/ID         reserves an access key id; the value is the id of its owner
//
// That is the first account's. Accounts that were added have the same below
// accounts/ID/, and a directory each; Accounts has them all.
//
// NAME is in lower case. Passwords are there as hashes only. Other secrets lie
// in the store as they are: SigV4 needs them in clear, so whoever reads the
// data directory is the account. They are never logged.
//
// https://docs.aws.amazon.com/IAM/latest/APIReference/welcome.html
// https://docs.aws.amazon.com/STS/latest/APIReference/welcome.html
package iam
