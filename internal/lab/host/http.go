package host

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// get asks one of a server's own HTTP services, as a program on that server would: from its own address, by loopback,
// past its firewall.
func get(ctx context.Context, n *Network, real, path string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp4", real)
		if err == nil {
			n.register(c, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
		}
		return c, err
	}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return 0, "", err
	}
	a, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer a.Body.Close()
	var b strings.Builder
	_, err = io.Copy(&b, io.LimitReader(a.Body, 400))
	return a.StatusCode, b.String(), err
}
