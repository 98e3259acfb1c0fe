package main

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const maxScrapes = 4 // at once

// metrics answers /metrics from a registry of its own: of the Node, of the
// process, and of this endpoint.
func (d *desk) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	count := func(name, help string, of func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, of)
	}
	gauge := func(name, help string, of func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, of)
	}
	registry.MustRegister(
		d.node.Collector(),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("mapgossip_http_connections", "Connections to the debug endpoint.",
			func() float64 { return float64(d.load.open()) }),
		gauge("mapgossip_http_watchers", "Clients that follow the changes of a map.",
			func() float64 { return float64(len(d.load.watchers.all)) }),
		count("mapgossip_http_connections_refused_total", "Connections to the debug endpoint that were over its bounds.",
			func() float64 { return float64(d.load.refusedConnections.Load()) }),
		count("mapgossip_http_requests_refused_total", "Requests that were over the bounds of what the debug endpoint does at once.",
			func() float64 { return float64(d.load.refusedRequests.Load()) }),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		Timeout:             answerTimeout,
	})
}
