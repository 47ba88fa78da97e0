package iam

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"strconv"
	"time"

	"davy/api/iamapi"
)

// reportLife is how long a credential report is good, and how long another is
// not made.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_getting-report.html
const reportLife = 4 * time.Hour

// credentialReport is kept in memory: a restart forgets it, and it is made
// anew on request.
type credentialReport struct {
	made    time.Time
	content []byte
}

// GenerateCredentialReport makes a report at once. The first answer is STARTED
// all the same, as clients expect; they ask again until it is COMPLETE.
func (s *Service) GenerateCredentialReport(context.Context, *iamapi.GenerateCredentialReportInput) (*iamapi.GenerateCredentialReportResponse, error) {
	at, old := s.now(), s.report.Load()
	if old != nil && at.Before(old.made.Add(reportLife)) {
		return &iamapi.GenerateCredentialReportResponse{State: new(iamapi.ReportStateTypeComplete)}, nil
	}
	content, err := s.snap.Load().credentials(s)
	if err != nil {
		return nil, err
	}
	s.report.Store(&credentialReport{made: at, content: content})
	out := &iamapi.GenerateCredentialReportResponse{State: new(iamapi.ReportStateTypeStarted), Description: new("No report exists. Starting a new report generation task")}
	if old != nil {
		out.Description = new("The existing report has expired. Starting a new report generation task")
	}
	return out, nil
}

// GetCredentialReport returns the report that GenerateCredentialReport made.
func (s *Service) GetCredentialReport(context.Context, *iamapi.GetCredentialReportInput) (*iamapi.GetCredentialReportResponse, error) {
	r := s.report.Load()
	switch {
	case r == nil:
		return nil, &iamapi.CredentialReportNotPresentException{Message: new("No credential report exists. Use GenerateCredentialReport to generate one.")}
	case !s.now().Before(r.made.Add(reportLife)):
		return nil, &iamapi.CredentialReportExpiredException{Message: new("The most recent credential report has expired. Use GenerateCredentialReport to generate a new one.")}
	}
	return &iamapi.GetCredentialReportResponse{Content: r.content, GeneratedTime: new(r.made), ReportFormat: new(iamapi.ReportFormatTypeTextCsv)}, nil
}

var reportColumns = []string{
	"user", "arn", "user_creation_time",
	"password_enabled", "password_last_used", "password_last_changed", "password_next_rotation", "mfa_active",
	"access_key_1_active", "access_key_1_last_rotated", "access_key_1_last_used_date", "access_key_1_last_used_region", "access_key_1_last_used_service",
	"access_key_2_active", "access_key_2_last_rotated", "access_key_2_last_used_date", "access_key_2_last_used_region", "access_key_2_last_used_service",
	"cert_1_active", "cert_1_last_rotated", "cert_2_active", "cert_2_last_rotated",
}

const notApplicable = "N/A"

func reportTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05+00:00") }

// credentials writes the report: a line for root, then one for each user.
func (s *snapshot) credentials(used *Service) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	row := append([]string{"<root_account>", s.account.rootARN(), reportTime(s.account.Created), "not_supported", notApplicable, "not_supported", "not_supported"}, used.rest(s.account.Keys)...)
	if err := w.WriteAll([][]string{reportColumns, row}); err != nil {
		return nil, fmt.Errorf("credential report: %w", err)
	}
	for _, r := range s.sorted(userKind) {
		password := []string{"false", notApplicable, notApplicable, notApplicable}
		if r.Login.present() {
			// Davy has no sign-in that a password is used for.
			password = []string{"true", "no_information", reportTime(r.Login.Changed), notApplicable}
			if age := s.account.Passwords.MaxAge; age > 0 {
				password[3] = reportTime(r.Login.Changed.AddDate(0, 0, int(age)))
			}
		}
		row := append([]string{r.Name, r.arn(s.account.Account), reportTime(r.Created)}, password...)
		if err := w.Write(append(row, used.rest(r.Keys)...)); err != nil {
			return nil, fmt.Errorf("credential report: %w", err)
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// rest returns the columns from mfa_active on.
func (s *Service) rest(keys []accessKey) []string {
	out := []string{"false"}
	for i := range keysPerUser {
		k := []string{"false", notApplicable, notApplicable, notApplicable, notApplicable}
		if i < len(keys) {
			k[0], k[1] = strconv.FormatBool(keys[i].Active), reportTime(keys[i].Created)
			if v, ok := s.used.Load(keys[i].ID); ok {
				u := v.(lastUsed)
				k[2], k[3], k[4] = reportTime(u.at), u.region, u.service
			}
		}
		out = append(out, k...)
	}
	return append(out, "false", notApplicable, "false", notApplicable)
}
