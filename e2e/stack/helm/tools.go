//go:build tools

// Package helm pins what build.sh builds.
package helm

import _ "helm.sh/helm/v3/cmd/helm"
