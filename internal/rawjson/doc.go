// Package rawjson reads JSON in place: it checks a text once and then walks it without copying or allocating.
//
// The reducer compares what a frame says with what is known, member by member, and most of it hasn't changed; building
// maps of it first, as encoding/json must, would cost more than the rest of the work. Values are slices of the text that
// was checked, so they live as long as it does, and nobody may write to it meanwhile.
//
// Check guarantees that a text is one JSON value (RFC 8259) of bounded depth in valid UTF-8; everything else here relies
// on that and must be given checked values only. Non-goals: decoding into Go types, streams, numbers beyond their text.
//
// TestCheckAgreesWithEncodingJSON and FuzzCheck lock the syntax and the walking, TestEveryByteInEveryPlace,
// TestSkipIsByteByByte and FuzzAppendString what is done eight bytes at a time.
package rawjson
