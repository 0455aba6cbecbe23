// Package confctl is the provider's wire protocol: frames and REST calls, encoding and tolerant decoding. It holds no state
// and starts no goroutine.
package confctl
