module fovea.dev/monitoring

go 1.26

require github.com/prometheus-operator/prometheus-operator v0.88.0
