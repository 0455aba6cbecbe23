package rawsock

import (
	"context"
	"net"
)

// Dial is d's DialContext with the connections wrapped.
func Dial(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return Wrap(nc), nil
	}
}
