package page

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// With these TestScreenshot takes the picture of a running gateway:
//
//	go test ./internal/edge/page -run 'TestScreenshot$' -count=1 -args \
//	    -screenshot-url 'http://127.0.0.1:8080/#conf=900487914' -screenshot-file docs/demo.png
var (
	screenshotURL  = flag.String("screenshot-url", "", "page to take a picture of; empty: a page of the test's own")
	screenshotFile = flag.String("screenshot-file", "", "PNG to write, relative to this package; empty: a temporary one")
	screenshotDark = flag.Bool("screenshot-dark", false, "in dark colours")
	screenshotSize = flag.String("screenshot-size", "1200x800", "width and height of the window")
	screenshotWait = flag.Duration("screenshot-wait", 0, "how long to let a live page run before the picture")
)

// Screenshot waits until the tab shows somebody in a live conference, and a while more, and writes what is seen as a PNG.
func Screenshot(b *tab, file string, wait time.Duration) error {
	shown := `document.querySelector("#roster tr") !== null && document.querySelector("#link").dataset.tone === "good"`
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[chromedp.Void](shown,
		chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(patience))); err != nil {
		return fmt.Errorf("page: no live roster to take a picture of: %w", err)
	}
	ctx, cancel := context.WithTimeout(b.ctx, wait)
	defer cancel()
	<-ctx.Done()
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		return fmt.Errorf("page: picture: %w", err)
	}
	return os.WriteFile(file, picture, 0o644) //nolint:gosec // a picture for the documentation, for everybody
}

// emulateColours makes the tab's reader prefer light or dark.
func emulateColours(scheme string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		return chromedp.Void{}, err
	}
}

// The page looks like something: the picture has the window's size and more than a few colours, also in the dark and on
// a phone, where nothing sticks out at the side.
func TestScreenshot(t *testing.T) {
	t.Parallel()
	var width, height int
	if _, err := fmt.Sscanf(*screenshotSize, "%dx%d", &width, &height); err != nil {
		t.Fatalf("-screenshot-size %q: %v, want WIDTHxHEIGHT", *screenshotSize, err)
	}
	shots := []struct {
		name          string
		width, height int
		dark          bool
	}{{"given", width, height, *screenshotDark}, {"dark", 1200, 800, true}, {"phone", 390, 844, false}}
	for _, s := range shots {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := newTab(t, int64(s.width), int64(s.height))
			scheme := "light"
			if s.dark {
				scheme = "dark"
			}
			b.do(emulateColours(scheme))
			if *screenshotURL != "" {
				b.do(chromedp.Navigate(*screenshotURL))
			} else {
				g := newGateway(t, Config{Auth: "none", Conferences: func() []string { return []string{"900487914"} }})
				b.open(g)
				p := g.accept(t)
				p.subscribed(world)
				p.send(event("subtitles", 41, 0, `{"pid":"p1","final":true,"lines":[{"text":"Good morning, everybody."}]}`))
				b.until(`document.querySelector("#subtitles li") !== null`)
			}
			file := *screenshotFile
			if file == "" {
				file = filepath.Join(t.TempDir(), "page.png")
			} else if s.name != "given" {
				file = strings.TrimSuffix(file, ".png") + "-" + s.name + ".png"
			}
			if err := Screenshot(b, file, *screenshotWait); err != nil {
				t.Fatal(err)
			}
			checkPicture(t, file, s.width, s.height)
			if got := b.eval(`document.documentElement.scrollWidth - innerWidth`); got != 0.0 {
				t.Errorf("the page is %v pixels wider than the window", got)
			}
		})
	}
}

func checkPicture(t *testing.T, file string, width, height int) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := picture.Bounds(), image.Rect(0, 0, width, height); got != want {
		t.Errorf("picture = %v, want %v", got, want)
	}
	colours := make(map[[3]uint32]bool)
	for y := picture.Bounds().Min.Y; y < picture.Bounds().Max.Y; y += 3 {
		for x := picture.Bounds().Min.X; x < picture.Bounds().Max.X; x += 3 {
			r, g, b, _ := picture.At(x, y).RGBA()
			colours[[3]uint32{r, g, b}] = true
		}
	}
	if len(colours) < 100 {
		t.Errorf("picture has %d colours, want a drawn page", len(colours))
	}
}
