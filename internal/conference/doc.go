// Package conference is the normalised state of a conference: the document of the contract (section 4), what a provider
// frame changes in it, and what of it a reader may see. It is pure: no I/O, no clock, no goroutines.
//
// State is the owner's side. Apply reduces a frame (full frames replace, increments merge, removals remove) and yields,
// for each topic that changed, the smallest JSON merge patch (RFC 7396). A frame that says nothing new yields nothing, so
// the full frames of a new link come out as exactly the difference. Doc is the replica's side: patched with the same
// changes it says the same as the owner's. Redact is the allow-list between a document and a reader.
//
// Owner of state: whoever holds the State or the Doc, one goroutine each. Changes are immutable.
//
// Guarantees, each with the test that locks it:
//   - a document and the changes after it give the later document: TestChangesRebuildTheDocument;
//   - the same frame twice changes nothing the second time: TestFullFrameTwiceChangesNothing;
//   - redaction commutes with patching: TestRedactionCommutes;
//   - what the rules know as an object and isn't one is hidden: TestStrangeShapesAreHidden;
//   - secrets parted from a change and joined again give the change: TestSplitSecretsJoins;
//   - an image shows the document as it was when it was taken: TestImagesShareNothing, and what
//     of it needs Secrets lies apart: TestImagePartsSecrets;
//   - every field of the reference has its row: TestEveryDocumentedFieldIsKnown;
//   - no bytes make it panic: FuzzApply.
//
// Non-goals: deciding whether a frame is in order (package subscribe), and keeping history (package fanout).
package conference
