package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"confgate/internal/confctl"

	"github.com/coder/websocket"
	"go.uber.org/zap"
)

// Paths of chapters 5.2.1, 5.2.29, 5.2.2 and 6.1.3.1.
const (
	pathToken        = "/v1/mmc/control/conferences/token"
	pathWSToken      = "/v1/mmc/control/conferences/wsToken"
	pathRealTimeInfo = "/v1/mmc/control/conferences/realTimeInfo"
	pathWebSocket    = "/cms/open/websocket/confctl/increment/conn"
)

// refusal is an error answer of the REST API.
type refusal struct {
	status    int
	code, msg string
}

func (r *refusal) Error() string { return "simulator: " + r.code + " " + r.msg }

// The refusals of chapter 22 that the simulated calls give.
func badParameter() error {
	return &refusal{http.StatusBadRequest, "MMC.111071061", "Parameter check failed."}
}

func notStarted() error {
	return &refusal{http.StatusBadRequest, "MMC.111072005", "Conference not started."}
}
func over() error { return &refusal{http.StatusBadRequest, "MMC.111072006", "Conference ended."} }
func wrongPassword() error {
	return &refusal{http.StatusBadRequest, "MMC.111072065", "Conference not found or authentication failed."}
}

func locked() error {
	return &refusal{http.StatusLocked, "MMC.111072064", "Conference control login locked."}
}

func badToken() error {
	return &refusal{http.StatusBadRequest, "MMC.111081006", "Authentication failed."}
}

func throttled() error {
	return &refusal{http.StatusTooManyRequests, "APIG.0308", "The throttling threshold has been reached."}
}

func (p *Provider) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathToken, func(w http.ResponseWriter, r *http.Request) {
		c := callToken
		if r.Header.Get("X-Conference-Authorization") != "" {
			c = callRefresh
		}
		p.serve(w, r, c, p.token)
	})
	wsToken := func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, callWSToken, p.wsToken) }
	mux.HandleFunc("GET "+pathWSToken, wsToken)
	mux.HandleFunc("PUT "+pathWSToken, wsToken) // as in the reference's example
	mux.HandleFunc("GET "+pathRealTimeInfo, func(w http.ResponseWriter, r *http.Request) {
		p.serve(w, r, callRealTimeInfo, p.realTimeInfo)
	})
	mux.HandleFunc("GET "+pathWebSocket, p.dial)
	return mux
}

// serve does what all REST calls have in common: counting, the quota, faults, and the shape of the answer.
func (p *Provider) serve(w http.ResponseWriter, r *http.Request, c call, do func(*http.Request) (any, error)) {
	p.requests.add(c)
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.Header().Set("Cache-Control", "no-cache")
	if p.cfg.Quota > 0 {
		api := c
		if c == callRefresh {
			api = callToken // one API, two uses
		}
		remain, ok := p.quota.take(api)
		w.Header().Set("X-APIG-Ratelimit-Api", fmt.Sprintf("remain:%d,limit:%d,time:1 minute", remain, p.cfg.Quota))
		if !ok {
			reply(w, nil, throttled())
			return
		}
	}
	if c != callRealTimeInfo && p.tokens.refused() {
		status := []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable}[rand.IntN(3)]
		reply(w, nil, &refusal{status, "MMC.111070003", "Internal server error."})
		return
	}
	if slow := p.slow.Load(); slow > 0 {
		p.fired.add(faultSlow)
		select {
		case <-time.After(time.Duration(rand.Int64N(slow + 1))):
		case <-r.Context().Done():
			return
		}
	}
	answer, err := do(r)
	reply(w, answer, err)
}

func reply(w http.ResponseWriter, answer any, err error) {
	if err != nil {
		refused, ok := errors.AsType[*refusal](err)
		if !ok {
			refused = &refusal{http.StatusInternalServerError, "MMC.111070003", "Internal server error."}
		}
		w.WriteHeader(refused.status)
		answer = map[string]string{"error_code": refused.code, "error_msg": refused.msg}
	}
	// The client may be gone; nothing is lost then.
	_ = json.NewEncoder(w).Encode(answer)
}

// running finds the conference that a call names, and refuses those that can't be controlled now.
func (p *Provider) running(r *http.Request) (*room, confctl.Secret, error) {
	id := r.URL.Query().Get("conferenceID")
	if id == "" {
		return nil, confctl.Secret{}, badParameter()
	}
	rm := p.rooms[id]
	if rm == nil {
		return nil, confctl.Secret{}, wrongPassword() // the code says "not found, or wrong"
	}
	phase, password := rm.status()
	switch phase {
	case NotStarted:
		return nil, confctl.Secret{}, notStarted()
	case Ended:
		return nil, confctl.Secret{}, over()
	case Running:
	}
	return rm, password, nil
}

// token is chapter 5.2.1: a control token for the chair password, or a longer life for one that is sent along.
func (p *Provider) token(r *http.Request) (any, error) {
	if r.Header.Get("X-Login-Type") != "1" {
		return nil, badParameter()
	}
	rm, right, err := p.running(r)
	if err != nil {
		return nil, err
	}
	sent, given := r.Header.Get("X-Conference-Authorization"), r.Header.Get("X-Password")
	if sent != "" {
		bare := bareToken(sent)
		if s, ok := p.tokens.session(bare); ok && s.conf == rm.id {
			if fresh, ok := p.tokens.refresh(bare); ok {
				return p.tokenAnswer(r, s, fresh), nil
			}
		}
		if given == "" {
			return nil, badToken()
		}
	}
	if given == "" {
		return nil, badParameter()
	}
	switch p.tokens.check(rm.id, confctl.NewSecret(given), right) {
	case passwordLocked:
		return nil, locked()
	case passwordWrong:
		return nil, wrongPassword()
	case passwordRight:
	}
	s, fresh := p.tokens.open(rm.id)
	return p.tokenAnswer(r, s, fresh), nil
}

func (p *Provider) tokenAnswer(r *http.Request, s *session, token string) any {
	return map[string]any{
		"data": map[string]any{
			"token":               token,
			"tmpWsToken":          p.tokens.mint("stb"), // good for nothing here, see doc.go
			"wsURL":               wsURL(r),
			"role":                1,
			"expireTime":          s.promised.Load() / int64(time.Millisecond),
			"userID":              "ff808081699b56cb0169be103500012b",
			"orgID":               orgID,
			"confTokenExpireTime": int(p.cfg.TokenLife / time.Second),
			"vmrCurrentConfID":    s.conf,
			"supportNotifyType":   []string{"INCREMENT"},
		},
		"addressToken":   p.tokens.mint("stb"),
		"globalPublicIP": r.Host,
	}
}

// wsURL is where the WebSocket of this provider is: at the host that the request was sent to.
func wsURL(r *http.Request) string {
	if r.TLS != nil {
		return "wss://" + r.Host
	}
	return "ws://" + r.Host
}

// authorized finds the conference of a call that needs a control token.
func (p *Provider) authorized(r *http.Request) (*room, *session, error) {
	rm, _, err := p.running(r)
	if err != nil {
		return nil, nil, err
	}
	s, ok := p.tokens.session(bareToken(r.Header.Get("X-Conference-Authorization")))
	if !ok || s.conf != rm.id {
		return nil, nil, badToken()
	}
	return rm, s, nil
}

// wsToken is chapter 5.2.29.
func (p *Provider) wsToken(r *http.Request) (any, error) {
	_, s, err := p.authorized(r)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"webSocketToken": p.tokens.grant(s)}
	if p.cfg.WrapWSToken {
		return map[string]any{"returnCode": 0, "returnDesc": "SUCCESS", "data": answer}, nil
	}
	return answer, nil
}

// realTimeInfo is chapter 5.2.2.
func (p *Provider) realTimeInfo(r *http.Request) (any, error) {
	rm, _, err := p.authorized(r)
	if err != nil {
		return nil, err
	}
	return rm.realTimeInfo(), nil
}

type realTimeAttendee struct {
	AccountID string `json:"accountID,omitempty"`
	UserUUID  string `json:"userUUID,omitempty"`
	Name      string `json:"name"`
	Phone     string `json:"phone,omitempty"`
}

type realTimeParticipant struct {
	PID   string `json:"pid"`
	Name  string `json:"name"`
	Phone string `json:"phone,omitempty"`
	State int64  `json:"state"`
	Video int64  `json:"video"`
	Mute  int64  `json:"mute"`
	Hand  int64  `json:"hand"`
}

type realTimeInfo struct {
	Attendees    []realTimeAttendee    `json:"attendees"`
	Participants []realTimeParticipant `json:"participants"`
	ConfInfo     struct {
		ChairID string   `json:"chairID,omitempty"`
		CoHosts []string `json:"coHosts"`
	} `json:"confInfo"`
}

func (r *room) realTimeInfo() realTimeInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	info := realTimeInfo{Attendees: []realTimeAttendee{}, Participants: []realTimeParticipant{}}
	info.ConfInfo.CoHosts = []string{}
	for _, a := range r.world.attendees {
		info.Attendees = append(info.Attendees, realTimeAttendee{
			AccountID: a.info.vals[aAccountID], UserUUID: a.info.vals[aUserUUID],
			Name: a.info.vals[aName], Phone: a.info.vals[aPhone],
		})
	}
	for _, p := range r.world.people {
		info.Participants = append(info.Participants, realTimeParticipant{
			PID: p.pid, Name: p.info.vals[pName], Phone: p.info.vals[pTel], State: p.info.num(pState),
			Video: p.info.num(pVideo), Mute: p.info.num(pMute), Hand: p.info.num(pHand),
		})
		if p.info.is(pRole, "1") {
			info.ConfInfo.ChairID = p.pid
		}
		if p.info.flag(pCohost) {
			info.ConfInfo.CoHosts = append(info.ConfInfo.CoHosts, p.pid)
		}
	}
	return info
}

// dial is chapter 6.1.3.1. What isn't let in is closed after the handshake, as the reference says.
func (p *Provider) dial(w http.ResponseWriter, r *http.Request) {
	p.requests.add(callDial)
	if !p.enter() {
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	defer p.links.Done()
	id := r.URL.Query().Get("confID")
	rm := p.rooms[id]
	l := &link{
		room: rm, wsURL: wsURL(r), dialled: time.Now(), wake: make(chan struct{}, 1), healed: make(chan struct{}),
	}
	l.beat = l.dialled
	// The handshake's context ends with this handler's return, and isn't used behind it: links have their own.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	l.cancel = cancel
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // programs, not pages, are the clients here
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived:     func(context.Context, []byte) bool { return l.room != nil && l.pongs() },
	})
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }()
	s, ok := p.tokens.redeem(r.URL.Query().Get("tmpToken"), id)
	if !ok {
		reject(ctx, conn, websocket.StatusPolicyViolation, "authentication failed")
		return
	}
	l.conn, l.session = conn, s
	if !rm.attach(l) {
		reject(ctx, conn, websocket.StatusNormalClosure, "conference ended")
		return
	}
	p.cfg.Log.Info("link opened", zap.String("conf", id))
	writer := make(chan struct{})
	go func() {
		defer close(writer)
		l.write(ctx)
	}()
	l.read(ctx, p)
	cancel()
	<-writer
	rm.detach(l)
	p.cfg.Log.Info("link closed", zap.String("conf", id), zap.Duration("age", time.Since(l.dialled)))
}

// enter counts a link's handler in, unless the provider is closed.
func (p *Provider) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.links.Add(1)
	return true
}
