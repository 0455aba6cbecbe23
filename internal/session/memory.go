package session

import (
	"encoding/json"
	"time"

	"go.uber.org/zap"

	"confgate/internal/confctl"
	"confgate/internal/conference"
)

// remembered is what a checkpoint carries beside the document. It never holds a secret.
type remembered struct {
	State      json.RawMessage `json:"state,omitempty"`      // conference.State.Memory
	Continuity json.RawMessage `json:"continuity,omitempty"` // subscribe.Tracker.Memory
	Refused    *refusal        `json:"refused,omitempty"`
}

// refusal recognises a password that the provider refused.
type refusal struct {
	At  int64  `json:"at"`  // Unix milliseconds
	MAC []byte `json:"mac"` // HMAC-SHA256 under Config.RefusalKey
}

// memory is the memory of a checkpoint of now.
func (a *actor) memory() []byte {
	data, err := json.Marshal(remembered{
		State:      rawOrNil(a.state.Memory()),
		Continuity: rawOrNil(a.tracker.Memory()),
		Refused:    a.refusal(),
	})
	if err != nil {
		a.log.DPanic("memory can't be encoded", zap.Error(err))
		return nil
	}
	return data
}

func rawOrNil(data []byte) json.RawMessage {
	if len(data) == 0 {
		return nil
	}
	return data
}

func (a *actor) refusal() *refusal {
	if a.refusedAt.IsZero() || len(a.cfg.RefusalKey) == 0 {
		return nil
	}
	return &refusal{At: a.refusedAt.UnixMilli(), MAC: a.password.Fingerprint(a.cfg.RefusalKey)}
}

// restore makes the state out of a checkpoint. What can't be read is left out: the provider's full frames bring the state
// again, and a memory lost costs a repeated event at the worst.
func (a *actor) restore(cp conference.Checkpoint) {
	var mem remembered
	if len(cp.Memory) > 0 {
		if err := json.Unmarshal(cp.Memory, &mem); err != nil {
			a.log.Warn("memory of the last owner is unreadable", zap.Error(err))
			mem = remembered{}
		}
	}
	if advanced, err := conference.AdvanceMemory(mem.State, cp.Since); err == nil {
		mem.State = advanced
	}
	// Restore takes the document over, and the checkpoint's may be shared with the log.
	state, err := conference.Restore(a.cfg.Conference, cp.Doc.Clone(), mem.State)
	if err != nil {
		a.log.Warn("memory of the last owner is unreadable", zap.Error(err))
		if state, err = conference.Restore(a.cfg.Conference, cp.Doc.Clone(), nil); err != nil {
			a.log.Warn("state of the last owner is unreadable", zap.Error(err))
			state = conference.New(a.cfg.Conference)
		}
	}
	a.state = state
	if len(mem.Continuity) > 0 {
		if err := a.tracker.Restore(mem.Continuity); err != nil {
			a.log.Warn("continuity of the last owner is unreadable", zap.Error(err))
		}
	}
	if r := mem.Refused; r != nil && len(a.cfg.RefusalKey) > 0 &&
		confctl.NewSecret(string(r.MAC)).Equal(confctl.NewSecret(string(a.password.Fingerprint(a.cfg.RefusalKey)))) {
		a.refusedAt = time.UnixMilli(r.At)
	}
}
