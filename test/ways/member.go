//go:build linux

package ways

import (
	"context"

	"github.com/mapgossip/mapgossip"
)

// member is a Node that runs.
type member struct {
	node *mapgossip.Node
	stop context.CancelFunc
	ran  chan error
}

func startMember(config mapgossip.Config) (*member, error) {
	node, err := mapgossip.New(config)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &member{node: node, stop: stop, ran: make(chan error, 1)}
	go func() { m.ran <- node.Run(ctx) }()
	return m, nil
}

func (m *member) address() string {
	for _, member := range m.node.Members() {
		if member.Self {
			return member.Addr
		}
	}
	return ""
}
