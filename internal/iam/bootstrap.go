package iam

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
)

// Bootstrap makes the account at the first start and returns an access key of
// its root user. With an id and a secret it makes sure that the root user has
// that key; without, it returns the oldest that is active, making one if there
// is none. A directory of another account is an error.
func (s *Service) Bootstrap(ctx context.Context, account, rootAccessKeyID, rootSecret string) (accessKeyID, secret string, err error) {
	if !isAccountID(account) {
		return "", "", fmt.Errorf("iam: %q is no account id of 12 digits", account)
	}
	if (rootAccessKeyID == "") != (rootSecret == "") {
		return "", "", errors.New("iam: a root access key needs both its id and its secret")
	}
	return s.bootstrap(ctx, &accountRecord{Account: account}, rootAccessKeyID, rootSecret)
}

// bootstrap makes the account, if it is not there, as made says.
func (s *Service) bootstrap(ctx context.Context, made *accountRecord, rootAccessKeyID, rootSecret string) (accessKeyID, secret string, err error) {
	account := made.Account
	err = s.mutate(ctx, func(now *snapshot) ([]change, error) {
		old, a := now.account, made
		a.Created = s.now()
		if old != nil {
			if old.Account != account {
				return nil, fmt.Errorf("iam: the directory is of account %s, not %s", old.Account, account)
			}
			a = old.clone()
		} else {
			a.SessionKey = make([]byte, 32)
			rand.Read(a.SessionKey)
		}
		accessKeyID, secret = rootAccessKeyID, rootSecret
		var reserved []change
		i := slices.IndexFunc(a.Keys, func(k accessKey) bool {
			return k.ID == rootAccessKeyID || rootAccessKeyID == "" && k.Active
		})
		switch {
		case i >= 0 && rootAccessKeyID == "":
			accessKeyID, secret = a.Keys[i].ID, a.Keys[i].Secret
		case i >= 0:
			if a.Keys[i].Active && a.Keys[i].Secret == rootSecret {
				return nil, nil
			}
			a.Keys[i].Active, a.Keys[i].Secret = true, rootSecret
		default:
			if entry, taken := now.keys[rootAccessKeyID]; taken {
				return nil, fmt.Errorf("iam: access key %s belongs to user %s", rootAccessKeyID, entry.owner.Name)
			}
			if len(a.Keys) >= keysPerUser {
				return nil, fmt.Errorf("iam: the root user has %d access keys already; delete one first", keysPerUser)
			}
			if accessKeyID == "" {
				accessKeyID, secret = newAccessKeyID("AKIA", account), newSecret()
			}
			a.Keys = append(a.Keys, accessKey{ID: accessKeyID, Secret: secret, Active: true, Created: s.now()})
			reserved = []change{{nil, &keyRecord{ID: accessKeyID}}}
		}
		if old == nil {
			return append(reserved, change{nil, a}), nil
		}
		if i >= 0 && rootAccessKeyID == "" {
			return nil, nil
		}
		return append(reserved, change{old, a}), nil
	})
	if err != nil {
		return "", "", err
	}
	return accessKeyID, secret, nil
}

func isAccountID(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) == 12
}

// Account returns the account's id.
func (s *Service) Account() string { return s.snap.Load().account.Account }
