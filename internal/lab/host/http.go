package host

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// errNobody says that nobody listens.
var errNobody = errors.New("nobody listens there")

// ask is one HTTP exchange with one of the server's own services, as a program on the server has it: by loopback, past
// its firewall, the connection coming from 127.0.0.1. With a form it is a POST. The error is errNobody if nobody listens.
func (h *Host) ask(ctx context.Context, limit time.Duration, port uint16, path string, form url.Values) (status int, text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	h.mu.Lock()
	l := h.listeners[port]
	h.mu.Unlock()
	if l == nil {
		return 0, "", errNobody
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp4", l.Addr().String())
		if err != nil {
			return nil, errNobody
		}
		h.network.register(c, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
		return c, nil
	}}
	method, body := http.MethodGet, ""
	if form != nil {
		// As EscapeDataString of .NET writes it.
		method, body = http.MethodPost, strings.ReplaceAll(form.Encode(), "+", "%20")
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	a, err := transport.RoundTrip(r) // redirects are not followed
	if err != nil {
		return 0, "", err
	}
	defer a.Body.Close()
	var b strings.Builder
	_, err = io.Copy(&b, io.LimitReader(a.Body, 4000))
	return a.StatusCode, b.String(), err
}
