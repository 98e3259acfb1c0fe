package gossip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	// askTimeout is how long a member may take to answer an ask.
	askTimeout = 3 * time.Second
	// maxAnswering bounds the asks of one member that are being answered, and
	// those that one member has under way with another: further ones wait at who
	// asks, and are refused by who answers.
	maxAnswering = 4
)

var (
	errNoAnswer   = fmt.Errorf("no answer within %g s", askTimeout.Seconds())
	errMemberGone = errors.New("no answer: the member is gone")
)

// Answer is what one living member answered to an ask that went to all.
type Answer[T any] struct {
	Node  string
	Value T
	Err   error // why there is no Value: "no answer within 3 s", or what the member said
}

// waitingAsk is an ask that was sent.
type waitingAsk struct {
	peer   *peer       // who alone may answer
	answer chan answer // has room for one
}

// ask asks p and returns the body of its answer. It returns within askTimeout, and
// when ctx ends with its cause.
func (c *Cluster) ask(ctx context.Context, p *peer, k askKind, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, errNoAnswer)
	defer cancel()
	select {
	case p.asking <- struct{}{}:
	case <-p.ctx.Done():
		return nil, errMemberGone
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	nonce := rand.Uint64() | 1
	waiting := &waitingAsk{p, make(chan answer, 1)}
	c.mu.Lock()
	c.asks[nonce] = waiting
	c.mu.Unlock()
	over := make(chan struct{})
	defer func() {
		close(over)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.asks, nonce)
	}()
	sent := make(chan error, 1)
	c.launch(func() { // a connection may take longer than askTimeout
		defer func() { <-p.asking }()
		sent <- c.sendStream(p, ask{nonce, k, body}.encode(c.name))
		<-over
	})
	for {
		select {
		case a := <-waiting.answer:
			return a.Body, a.err()
		case err := <-sent:
			if err != nil {
				return nil, fmt.Errorf("no answer: it cannot be asked: %w", err)
			}
			sent = nil
		case <-p.ctx.Done():
			return nil, errMemberGone
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// err is nil for an answer that is one.
func (a answer) err() error {
	switch a.Status {
	case answerDone:
		return nil
	case answerUnknown:
		return errors.New("its version does not know the question: update it")
	case answerBusy:
		return fmt.Errorf("it answers %d other questions of this member: ask again", maxAnswering)
	}
	return errors.New(cmp.Or(a.Reason, "it failed, and did not say why"))
}

// askAll asks all other living members at the same time. The answers are sorted by
// node ID.
func askAll[T any](ctx context.Context, c *Cluster, k askKind, body []byte, decode func([]byte) (T, error)) []Answer[T] {
	peers := c.peers()
	slices.SortFunc(peers, func(a, b *peer) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.boot, b.boot)) })
	answers := make([]Answer[T], len(peers))
	var group sync.WaitGroup
	for i, p := range peers {
		group.Go(func() {
			answers[i].Node = p.Node
			got, err := c.ask(ctx, p, k, body)
			if err == nil {
				answers[i].Value, err = decode(got)
			}
			answers[i].Err = err
		})
	}
	group.Wait()
	return answers
}

// handleAnswer wakes who asked; what nobody asked p for, or no longer waits for, is
// dropped.
func (c *Cluster) handleAnswer(p *peer, a answer) {
	c.mu.Lock()
	waiting := c.asks[a.Nonce]
	if waiting != nil && waiting.peer == p {
		delete(c.asks, a.Nonce)
	} else {
		waiting = nil
	}
	c.mu.Unlock()
	if waiting != nil {
		waiting.answer <- a
	}
}

// handleAsk answers beside, so that nothing else of p waits for it.
func (c *Cluster) handleAsk(p *peer, a ask) {
	if p.answering.Add(1) > maxAnswering {
		p.answering.Add(-1)
		_ = c.sendStream(p, answer{Nonce: a.Nonce, Status: answerBusy}.encode(c.name)) // counted; it times out otherwise
		return
	}
	c.launch(func() {
		defer p.answering.Add(-1)
		ctx, cancel := context.WithTimeoutCause(p.ctx, askTimeout, errors.New("it took too long"))
		defer cancel()
		reply := answer{Nonce: a.Nonce}
		body, known, err := c.reply(ctx, a)
		switch {
		case !known:
			reply.Status = answerUnknown
		case err != nil:
			reply.Status, reply.Reason = answerFailed, err.Error()
		default:
			reply.Body = body
		}
		_ = c.sendStream(p, reply.encode(c.name)) // counted; it times out otherwise
	})
}

// reply answers an ask of another member; known is false for a kind that this
// version does not know.
func (c *Cluster) reply(ctx context.Context, a ask) (body []byte, known bool, err error) {
	switch a.Kind {
	case askHeld:
		body, err = c.replyHeld(ctx, a.Body)
	case askView:
		body, err = c.replyView(ctx)
	case askKeys, askInstallKey, askUseKey, askRemoveKey:
		body, err = c.replyKeys(a.Kind, a.Body)
	case askBuckets:
		body, err = c.replyBuckets(ctx, a.Body)
	case askBucket:
		body, err = c.replyBucket(ctx, a.Body)
	case askGiveUp:
		body, err = c.replyGiveUp(a.Body)
	default:
		return nil, false, nil
	}
	return body, true, err
}
