//go:build tools

// Package etcdtool pins the etcd that build.sh builds: a module of its own, since Kubernetes pins other versions of what it needs.
package etcdtool

import (
	_ "go.etcd.io/etcd/server/v3"
)
