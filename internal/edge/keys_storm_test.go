package edge

import (
	"net/http"
	"testing"
	"testing/synctest"
)

// Symptom: of many clients that came at once with tokens of a new key, as after a rotation, only the first waited for the
// fetch that it asked for; who came before that fetch had begun was told that its token isn't valid.
func TestAllWaitForTheFetchThatOneAskedFor(t *testing.T) {
	t.Parallel()
	ed := edSigner(t, "1")
	synctest.Test(t, func(t *testing.T) {
		server := &keyServer{status: http.StatusOK, body: keySet(ed)}
		keys, err := NewKeySet(KeySetConfig{URL: keyURL, HTTP: &http.Client{Transport: server}})
		if err != nil {
			t.Fatal(err)
		}
		const storm = 10
		found := make(chan bool, storm)
		for range storm {
			go func() {
				_, ok := keys.find(t.Context(), "1", algEdDSA)
				found <- ok
			}()
		}
		synctest.Wait() // all have asked, and no fetch has begun
		go func() { _ = keys.Run(t.Context()) }()
		for i := range storm {
			if !<-found {
				t.Errorf("token %d wasn't held up for the keys", i)
			}
		}
		if n := server.count(); n > 2 {
			t.Errorf("%d fetches, want one for all, and the one that a worker begins with", n)
		}
	})
}
