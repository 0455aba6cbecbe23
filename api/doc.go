// Package api is the interface of the gateway in machine-readable form: asyncapi.yaml for the WebSocket, openapi.yaml for
// plain HTTP, and a JSON Schema (draft 2020-12) of every message, every answer and of the state document, in schemas/.
//
// The package embeds them and checks messages against them. It owns nothing and depends on no other package of this module,
// so that programs which talk to a gateway can use it. A Validator is safe for concurrent use.
//
// The published schemas leave room, as clients must: for members and for words that a newer gateway or another version of
// the provider brings. The strict ones don't; tests use them for what the gateway sends, so that a misspelt member shows.
// Not here: what no schema can say, such as the order of messages; internal/watch checks that.
package api
