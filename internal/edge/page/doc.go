// Package page is the plain page at `/`: one conference, live, in a browser.
//
// The page is static: HTML, a style sheet and three ES modules, embedded, without a build step and without any resource from
// elsewhere. assets/client.js is the protocol (confgate.v1) and can be used alone, assets/view.js draws, assets/app.js joins
// them. The handler owns no state but the files; which conferences the page offers is asked of the composition root for each
// request of page/config.json.
//
// Guarantees: the content security policy admits no inline script or style and no other origin; what comes from a conference
// is shown as text only; tokens stay in the tab's session storage and never enter an address. The tests run the page in
// Chromium against a scripted server: rendering, patches, removals, a loss, a resume, markup in names, close codes.
//
// Not here: the REST list of conferences, commands, and any state of the gateway.
package page
