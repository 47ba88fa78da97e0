package authz

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"davy/api/iamapi"
	"davy/api/lambdaapi"
	"davy/api/logsapi"
	"davy/api/s3api"
	"davy/api/stsapi"
	"davy/internal/awsapi"
)

var services = []*awsapi.Service{iamapi.Service, lambdaapi.Service, logsapi.Service, s3api.Service, stsapi.Service}

// unknown are operations without public authorisation data; Davy implements
// none of them, and refuses them all.
var unknown = []string{
	"iam:AcquireRole", "iam:UpdateDelegationRequest",
	"lambda:DeleteDurableExecution", "lambda:PauseDurableExecution", "lambda:ResumeDurableExecution",
	"s3:CreateSession", "s3:ListDirectoryBuckets", "s3:RenameObject", "s3:WriteGetObjectResponse",
}

func TestOperations_EachHasAnEntry(t *testing.T) {
	for _, s := range services {
		for _, op := range s.Operations {
			name := s.SigningName + ":" + op.Name
			if covered(name) == slices.Contains(unknown, name) {
				t.Errorf("%s: has an entry is %v; add it to the tables, or to unknown if AWS publishes nothing", name, covered(name))
			}
		}
	}
}

// Every name in the hand-written tables must be one that exists.
func TestTables_NameRealOperationsAndActions(t *testing.T) {
	ops := map[string]*awsapi.Operation{}
	for _, s := range services {
		for _, op := range s.Operations {
			ops[s.SigningName+":"+op.Name] = op
		}
	}
	for op, action := range aliases {
		if ops[op] == nil {
			t.Errorf("alias of unknown operation %s", op)
		}
		if _, ok := actions[action]; !ok {
			t.Errorf("%s: alias to unknown action %s", op, action)
		}
	}
	for plain, version := range versioned {
		if _, ok := actions[plain]; !ok {
			t.Errorf("unknown action %s", plain)
		}
		if _, ok := actions[version]; !ok {
			t.Errorf("unknown action %s", version)
		}
	}
	for op := range special {
		if ops[op] == nil {
			t.Errorf("special of unknown operation %s", op)
		}
	}
	for op, signed := range noPermission {
		if ops[op] == nil || ops[op].NoAuth == signed {
			t.Errorf("%s: needs a signature is %v here, not so in the model", op, signed)
		}
	}
}

func sample(member string) string {
	if strings.HasSuffix(member, "Arn") || member == "SerialNumber" || member == "LogGroupIdentifier" {
		return "arn:aws:any:us-east-1:" + account + ":x-" + member
	}
	if strings.HasSuffix(member, "Path") {
		return "/x-" + member + "/"
	}
	return "x-" + member
}

// fillIn gives every scalar of an input a value, so that resources can be
// built.
func fillIn(v reflect.Value, depth int) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch f.Kind() {
		case reflect.Pointer:
			p := reflect.New(f.Type().Elem())
			switch p.Elem().Kind() {
			case reflect.String:
				p.Elem().SetString(sample(v.Type().Field(i).Name))
			case reflect.Struct:
				if depth > 2 || p.Elem().NumField() == 0 || !p.Elem().Type().Field(0).IsExported() {
					continue
				}
				fillIn(p.Elem(), depth+1)
			}
			f.Set(p)
		case reflect.Slice:
			if f.Type().Elem().Kind() == reflect.String {
				f.Set(reflect.MakeSlice(f.Type(), 1, 1))
				f.Index(0).SetString("x-" + v.Type().Field(i).Name)
			}
		}
	}
}

// A resource of an operation whose input is filled whole has no gap, except
// where the caller does not say what it works on.
func TestResources_AreNamedByTheInput(t *testing.T) {
	gaps := map[string]bool{
		"iam:GetAccessKeyLastUsed":               true, // the key's user is not in the request
		"iam:CreateServiceLinkedRole":            true, // AWS derives the role's name
		"iam:GetServiceLinkedRoleDeletionStatus": true,
		"iam:GenerateOrganizationsAccessReport":  true,
		"iam:GetHumanReadableSummary":            true,
		"iam:CreateDelegationRequest":            true,
		"iam:GetRoleTemplateVersion":             true,
		// A callback is named by its id only.
		"lambda:SendDurableExecutionCallbackFailure":   true,
		"lambda:SendDurableExecutionCallbackHeartbeat": true,
		"lambda:SendDurableExecutionCallbackSuccess":   true,
		// A delivery has no name before it is made.
		"logs:CreateDelivery":              true,
		"logs:UpdateDeliveryConfiguration": true,
	}
	a := testAuthorizer(t, Config{})
	var table []string
	for _, s := range services {
		for _, op := range s.Operations {
			name := s.SigningName + ":" + op.Name
			if _, free := noPermission[name]; free || !covered(name) {
				continue
			}
			in := reflect.New(op.Input)
			fillIn(in.Elem(), 0)
			call := &awsapi.Call{Region: "us-east-1", Account: account, Service: s.SigningName, Principal: userPrincipal("u")}
			q, err := a.request(t.Context(), call, s.SigningName, op.Name, in.Interface())
			if err != nil {
				t.Fatal(err)
			}
			needs, ok := q.needs()
			if !ok || len(needs) == 0 && name != "s3:DeleteObjects" {
				t.Errorf("%s: no needs", name)
			}
			for _, n := range needs {
				table = append(table, name+" "+n.action+" "+n.resource)
				if _, ok := actions[n.action]; !ok {
					t.Errorf("%s: unknown action %s", name, n.action)
				}
				typed := len(actions[n.action].required) > 0
				if typed && (n.resource == "" || strings.HasSuffix(n.resource, "*") || strings.Contains(n.resource, ":*")) && !gaps[name] {
					t.Errorf("%s: %s has the resource %q", name, n.action, n.resource)
				}
			}
		}
	}
	golden(t, "resources.txt", strings.Join(table, "\n")+"\n")
}
