package gossip

import (
	"strings"
	"unicode"

	"github.com/vmihailenco/msgpack/v5"
)

// askKind says what one member asks of another. A kind never changes the fields of
// its ask and its answer: a new meaning is a new kind, which older versions answer
// with answerUnknown.
type askKind uint8

const (
	askHeld       askKind = iota + 1 // what it has of a key
	askView                          // what it says of its maps and of the others
	askKeys                          // the fingerprints of its keys
	askInstallKey                    // to decrypt with a key
	askUseKey                        // to encrypt with a key
	askRemoveKey                     // to forget a key
	askBuckets                       // bucket digests of a map
	askBucket                        // some entries of one bucket
	askGiveUp                        // to count a member that is gone as one that left
)

// answerStatus says what came of an ask.
type answerStatus uint8

const (
	answerDone    answerStatus = iota // the body is the answer
	answerUnknown                     // of the kind
	answerBusy                        // with maxAnswering others of the same member
	answerFailed                      // and why
)

// ask wants an answer with the same nonce.
type ask struct {
	Nonce uint64
	Kind  askKind
	Body  []byte // by Kind
}

func (a ask) encode(sender string) []byte {
	w := newFrame(kindAsk, sender, 3, len(a.Body)+512)
	w.uint(a.Nonce)
	w.number(int(a.Kind))
	w.blob(a.Body)
	return w.finish()
}

// decodeAsk takes any kind: of those that it does not know the member is told.
func decodeAsk(r *fieldReader) (ask, error) {
	a := ask{Nonce: r.uint(), Kind: askKind(r.number(255)), Body: r.blob(maxFrameBytes)}
	return a, r.end()
}

type answer struct {
	Nonce  uint64
	Status answerStatus
	Reason string // of answerFailed
	Body   []byte // of answerDone, by the kind of the ask
}

func (a answer) encode(sender string) []byte {
	w := newFrame(kindAnswer, sender, 4, len(a.Body)+2*maxReasonBytes)
	w.uint(a.Nonce)
	w.number(int(a.Status))
	w.text(a.Reason[:min(len(a.Reason), maxReasonBytes)])
	w.blob(a.Body)
	return w.finish()
}

func decodeAnswer(r *fieldReader) (answer, error) {
	a := answer{Nonce: r.uint(), Status: answerStatus(r.number(255)), Reason: readable(r.text(maxReasonBytes)), Body: r.blob(maxFrameBytes)}
	return a, r.end()
}

// readable makes text of another member safe to show.
func readable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// name reads text that identifies something, and must be printable.
func (r *fieldReader) name(limit int) string {
	s := r.text(limit)
	if s == "" || !printable(s) {
		r.fail("name %q", s)
	}
	return s
}

// newBody begins the body of an ask or an answer, of so many fields.
func newBody(fields, sizeHint int) *frameWriter {
	w := &frameWriter{}
	w.buf.Grow(sizeHint)
	w.enc = msgpack.NewEncoder(&w.buf)
	w.array(fields)
	return w
}

func (w *frameWriter) body() []byte { return w.buf.Bytes() }

// openBody reads a body of so many fields by fn.
func openBody(body []byte, fields int, fn func(*fieldReader)) error {
	r := newFieldReader(body)
	r.record(fields, func() { fn(r) })
	return r.end()
}
