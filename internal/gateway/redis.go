package gateway

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"confgate/internal/rawsock"
)

const wantRedisURL = "redis[s]://[USER:PASSWORD@]HOST[:PORT][,HOST…][/DB][?cluster=true or ?master=NAME], or unix://[…]/SOCKET"

// Limits of the Redis client. An append is retried by its session, so calls give up early rather than hang.
const (
	redisDialTimeout = 3 * time.Second
	redisCallTimeout = 3 * time.Second
)

// redisKeepAlive finds a Redis that is gone within a minute, as the library's own dialer does.
var redisKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3}

// clusterReload is how often a client of a cluster asks where slots are. A node that is down can't tell where its slots
// have gone, so this bounds how long they are away after a fail-over; the library's own minute is too long.
const clusterReload = time.Second

// newRedisClient makes the client that options ask for.
func newRedisClient(opts *redis.UniversalOptions) redis.UniversalClient {
	if opts.TLSConfig == nil {
		// The library's own dialer, but for the wrapping. With TLS it has another.
		opts.Dialer = rawsock.Dial(&net.Dialer{Timeout: opts.DialTimeout, KeepAliveConfig: redisKeepAlive})
	}
	if !opts.IsClusterMode {
		return redis.NewUniversalClient(opts)
	}
	cluster := opts.Cluster()
	cluster.ClusterStateReloadInterval = clusterReload
	return redis.NewClusterClient(cluster)
}

// parseRedisURL reads --redis-url. Errors quote nothing of it.
func parseRedisURL(text string) (*redis.UniversalOptions, error) {
	opts := &redis.UniversalOptions{
		DialTimeout: redisDialTimeout, ReadTimeout: redisCallTimeout, WriteTimeout: redisCallTimeout,
		ContextTimeoutEnabled: true,
		// A session retries the very same bytes; a retry underneath would only stretch its time-outs.
		MaxRetries: -1,
		// RESP3 brings nothing that is used here, and has the library look for push notifications before each answer.
		Protocol: 2,
	}
	if text == "" {
		return opts, nil
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return nil, errors.New("no scheme")
	}
	// Several hosts are no URL, so they are taken out before the rest is read as one.
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	user, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, hosts = authority[:i+1], authority[i+1:]
	}
	u, err := url.Parse("redis://" + user + "host" + tail)
	if err != nil || u.Fragment != "" {
		return nil, errors.New("not a URL")
	}
	opts.Username = u.User.Username()
	opts.Password, _ = u.User.Password()

	switch scheme {
	case "unix":
		if hosts != "" || u.Path == "" || u.Path == "/" {
			return nil, errors.New("no socket")
		}
		opts.Addrs = []string{u.Path}
		return opts, redisQuery(opts, u.Query(), true)
	case "rediss":
		opts.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	case "redis":
	default:
		return nil, errors.New("unknown scheme")
	}
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := redisAddr(host)
		if err != nil {
			return nil, err
		}
		opts.Addrs = append(opts.Addrs, addr)
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if opts.DB, err = strconv.Atoi(db); err != nil || opts.DB < 0 {
			return nil, errors.New("bad database")
		}
	}
	if err := redisQuery(opts, u.Query(), false); err != nil {
		return nil, err
	}
	opts.IsClusterMode = opts.IsClusterMode || (len(opts.Addrs) > 1 && opts.MasterName == "")
	if opts.IsClusterMode && opts.DB != 0 {
		return nil, errors.New("a cluster has one database only")
	}
	return opts, nil
}

// redisAddr checks one HOST[:PORT], and adds the usual port.
func redisAddr(host string) (string, error) {
	u, err := url.Parse("redis://" + host)
	if err != nil || u.Hostname() == "" || u.Host != host {
		return "", errors.New("bad host")
	}
	if u.Port() == "" {
		return host + ":6379", nil
	}
	if !hostPort(host) {
		return "", errors.New("bad port")
	}
	return host, nil
}

func redisQuery(opts *redis.UniversalOptions, query url.Values, socket bool) error {
	for key, values := range query {
		value := values[len(values)-1]
		var err error
		switch {
		case key == "cluster" && !socket:
			opts.IsClusterMode, err = strconv.ParseBool(value)
		case key == "master" && !socket && value != "":
			opts.MasterName = value
		case key == "sentinel_username" && !socket:
			opts.SentinelUsername = value
		case key == "sentinel_password" && !socket:
			opts.SentinelPassword = value
		case key == "db" && socket:
			opts.DB, err = strconv.Atoi(value)
		default:
			err = errors.New("unknown parameter")
		}
		if err != nil {
			return errors.New("bad parameter")
		}
	}
	if opts.IsClusterMode && opts.MasterName != "" {
		return errors.New("either cluster or master")
	}
	return nil
}
