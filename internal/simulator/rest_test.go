package simulator

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// wantCode tries to log in and expects an error.
func wantCode(t *testing.T, h http.Handler, c Credential, status int, code string) {
	t.Helper()
	got, _, body := get(t, h, "GET", pathToken, c.ID, map[string]string{
		"X-Password": c.Password.Reveal(), "X-Login-Type": "1",
	})
	if got != status || body["error_code"] != code || body["error_msg"] == "" {
		t.Errorf("token = %d %v, want %d %s", got, body, status, code)
	}
}

func TestTokenAnswer(t *testing.T) {
	t.Parallel()
	p := New(Config{})
	conf := p.Conferences()[0]
	status, header, body := get(t, p.Handler(), "GET", pathToken, conf.ID, map[string]string{
		"X-Password": conf.Password.Reveal(), "X-Login-Type": "1",
	})
	if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "application/json") || body["returnCode"] != nil {
		t.Fatalf("token = %d %v %v", status, header, body)
	}
	data := body["data"].(map[string]any)
	for _, k := range []string{
		"token", "tmpWsToken", "wsURL", "role", "expireTime", "userID", "orgID", "confTokenExpireTime", "vmrCurrentConfID",
		"supportNotifyType",
	} {
		if data[k] == nil || data[k] == "" {
			t.Errorf("the answer lacks %s", k)
		}
	}
	if data["wsURL"] != "ws://example.com" || data["confTokenExpireTime"] != 1800.0 || data["vmrCurrentConfID"] != conf.ID {
		t.Errorf("token answer %v", data)
	}
	if left := int64(data["expireTime"].(float64)) - time.Now().UnixMilli(); left < 1_700_000 || left > 1_800_000 {
		t.Errorf("expireTime is %d ms away, want 1800 s", left)
	}
}

// Wrong requests and wrong passwords, and the lock after too many of them.
func TestPasswords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{LockAfter: 3, LockFor: time.Minute})
		h, conf := p.Handler(), p.Conferences()[0]
		wrong := Credential{ID: conf.ID, Password: secret("wrong")}

		wantCode(t, h, Credential{ID: "", Password: conf.Password}, 400, "MMC.111071061")
		wantCode(t, h, Credential{ID: conf.ID}, 400, "MMC.111071061")
		wantCode(t, h, Credential{ID: "999", Password: conf.Password}, 400, "MMC.111072065")
		untyped := map[string]string{"X-Password": conf.Password.Reveal()}
		if status, _, body := get(t, h, "GET", pathToken, conf.ID, untyped); status != 400 {
			t.Errorf("without X-Login-Type: %d %v", status, body)
		}

		wantCode(t, h, wrong, 400, "MMC.111072065")
		wantCode(t, h, wrong, 400, "MMC.111072065")
		logIn(t, h, conf) // clears the count
		for range 3 {
			wantCode(t, h, wrong, 400, "MMC.111072065")
		}
		wantCode(t, h, wrong, 423, "MMC.111072064")
		wantCode(t, h, conf, 423, "MMC.111072064")
		logIn(t, h, p.Conferences()[1]) // another conference isn't locked
		time.Sleep(time.Minute)
		logIn(t, h, conf)
		if got := p.Requests(); got["token"] != 14 || got["refresh"] != 0 {
			t.Errorf("Requests() = %v, want 14 of token", got)
		}
	})
}

// Keep-alive by the token alone, raw or as Basic; after its end by password only.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	for _, rotate := range []bool{false, true} {
		t.Run(fmt.Sprintf("rotate=%t", rotate), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := New(Config{RotateTokens: rotate})
				h, conf := p.Handler(), p.Conferences()[0]
				token := logIn(t, h, conf)
				keep := func(token, password string) (int, map[string]any, string) {
					status, _, body := get(t, h, "GET", pathToken, conf.ID, map[string]string{
						"X-Conference-Authorization": token, "X-Password": password, "X-Login-Type": "1",
					})
					data, _ := body["data"].(map[string]any)
					fresh, _ := data["token"].(string)
					return status, body, fresh
				}
				for range 5 {
					time.Sleep(29 * time.Minute)
					status, body, fresh := keep("Basic "+base64.StdEncoding.EncodeToString([]byte(token)), "not checked")
					if status != 200 || (fresh == token) == rotate {
						t.Fatalf("keep-alive = %d %v, same token %t", status, body["error_code"], fresh == token)
					}
					if rotate {
						if status, body, _ := keep(token, ""); status != 400 || body["error_code"] != "MMC.111081006" {
							t.Errorf("keep-alive with the old token = %d %v", status, body)
						}
					}
					token = fresh
				}
				time.Sleep(30 * time.Minute)
				if status, body, _ := keep(token, ""); status != 400 || body["error_code"] != "MMC.111081006" {
					t.Errorf("keep-alive after the end = %d %v, want MMC.111081006", status, body)
				}
				if status, body, _ := keep(token, "wrong"); status != 400 || body["error_code"] != "MMC.111072065" {
					t.Errorf("keep-alive after the end, wrong password = %d %v, want MMC.111072065", status, body)
				}
				if status, _, fresh := keep(token, conf.Password.Reveal()); status != 200 || fresh == token {
					t.Errorf("keep-alive after the end, right password = %d, same token %t", status, fresh == token)
				}
				other := p.Conferences()[1].ID
				status, _, _ := get(t, h, "GET", pathWSToken, other, map[string]string{"X-Conference-Authorization": token})
				if status != 400 {
					t.Errorf("a token opened another conference: %d", status)
				}
			})
		})
	}
}

func TestConnectionTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{WrapWSToken: true})
		h, conf := p.Handler(), p.Conferences()[0]
		auth := map[string]string{"X-Conference-Authorization": logIn(t, h, conf)}
		ask := func(method string) string {
			status, _, body := get(t, h, method, pathWSToken, conf.ID, auth)
			if status != 200 || body["returnCode"] != 0.0 {
				t.Fatalf("wsToken = %d %v", status, body)
			}
			return body["data"].(map[string]any)["webSocketToken"].(string)
		}
		early, late, elsewhere := ask("GET"), ask("PUT"), ask("GET")
		if _, ok := p.tokens.redeem(elsewhere, p.Conferences()[1].ID); ok {
			t.Error("a token opened another conference's link")
		}
		time.Sleep(59 * time.Second)
		if _, ok := p.tokens.redeem(early, conf.ID); !ok {
			t.Error("a token of 59 s was refused")
		}
		if _, ok := p.tokens.redeem(early, conf.ID); ok {
			t.Error("a token was good twice")
		}
		time.Sleep(time.Second)
		if _, ok := p.tokens.redeem(late, conf.ID); ok {
			t.Error("a token of 60 s was good")
		}
		// Nothing that has expired is kept.
		time.Sleep(time.Hour)
		logIn(t, h, conf)
		if n, m := len(p.tokens.sessions), len(p.tokens.grants); n != 1 || m != 0 {
			t.Errorf("%d sessions and %d grants are kept, want 1 and 0", n, m)
		}
	})
}

func TestQuota(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Quota: 3})
		h, conf := p.Handler(), p.Conferences()[0]
		good := map[string]string{"X-Password": conf.Password.Reveal(), "X-Login-Type": "1"}
		for i, want := range []struct {
			status int
			remain string
		}{{200, "remain:2,"}, {200, "remain:1,"}, {200, "remain:0,"}, {429, "remain:0,"}} {
			status, header, _ := get(t, h, "GET", pathToken, conf.ID, good)
			limit := header.Get("X-APIG-Ratelimit-Api")
			if status != want.status || limit != want.remain+"limit:3,time:1 minute" {
				t.Errorf("call %d: %d, %q, want %d, %q", i, status, limit, want.status, want.remain)
			}
		}
		auth := map[string]string{"X-Conference-Authorization": "stb0"}
		if status, _, _ := get(t, h, "GET", pathWSToken, conf.ID, auth); status == 429 {
			t.Error("the quota of one API counts for another")
		}
		time.Sleep(time.Minute)
		logIn(t, h, conf)
	})
}

func TestRealTimeInfo(t *testing.T) {
	t.Parallel()
	p := New(Config{Participants: 12, Seed: 3})
	h, conf := p.Handler(), p.Conferences()[0]
	p.Step(conf.ID, 400)
	if status, _, _ := get(t, h, "GET", pathRealTimeInfo, conf.ID, nil); status != 400 {
		t.Errorf("without a token: status %d, want 400", status)
	}
	_, _, body := get(t, h, "GET", pathRealTimeInfo, conf.ID, map[string]string{"X-Conference-Authorization": logIn(t, h, conf)})
	truth := p.Truth(conf.ID)
	rows := body["participants"].([]any)
	if len(rows) != len(truth.Participants) || len(body["attendees"].([]any)) != len(truth.Attendees) {
		t.Fatalf("%d participants and %d attendees, want %d and %d", len(rows), len(body["attendees"].([]any)),
			len(truth.Participants), len(truth.Attendees))
	}
	info := body["confInfo"].(map[string]any)
	for _, r := range rows {
		row := r.(map[string]any)
		want := truth.Participants[row["pid"].(string)]
		if row["name"] != want.Name || number(row["state"]) != want.State || (row["mute"] == 1.0) != want.Mute ||
			(row["hand"] == 1.0) != want.Hand || (row["video"] == 1.0) != want.Video {
			t.Errorf("participant %v, want %+v", row, want)
		}
		if (info["chairID"] == row["pid"]) != (want.Role == 1) {
			t.Errorf("chairID = %v, role of %v is %d", info["chairID"], row["pid"], want.Role)
		}
	}
}

// Tokens that end before what they promise, until that is healed.
func TestTokensExpireEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Faults: FaultPlan{Expire: 5 * time.Second}})
		h, conf := p.Handler(), p.Conferences()[0]
		ask := func(token string) int {
			status, _, _ := get(t, h, "GET", pathWSToken, conf.ID, map[string]string{"X-Conference-Authorization": token})
			return status
		}
		token := logIn(t, h, conf)
		time.Sleep(4 * time.Second)
		if got := ask(token); got != 200 {
			t.Errorf("after 4 s: %d, want 200", got)
		}
		time.Sleep(time.Second)
		if got := ask(token); got != 400 || p.Fired()["expire"] != 1 {
			t.Errorf("after 5 s: %d, fired %d times, want 400 and once", got, p.Fired()["expire"])
		}
		token = logIn(t, h, conf)
		p.Heal()
		time.Sleep(29 * time.Minute)
		if got := ask(token); got != 200 {
			t.Errorf("healed, after 29 min: %d, want 200", got)
		}
	})
}
