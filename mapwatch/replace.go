package mapwatch

import "fmt"

// checkReplace checks that a map with that shape can take the place of one of
// those that are watched.
func checkReplace(shapes []Shape, mapIndex int, shape Shape) error {
	if mapIndex < 0 || mapIndex >= len(shapes) {
		return fmt.Errorf("watch map %s: index %d of %d watched maps", shape.Target, mapIndex, len(shapes))
	}
	old := shapes[mapIndex]
	if shape.Type != old.Type || shape.KeyBytes != old.KeyBytes || shape.ValueBytes != old.ValueBytes {
		return fmt.Errorf("watch map %s: it is a %s with keys of %d and values of %d bytes, the one in its place a %s with %d and %d: %w: start a new Watch",
			shape.Target, shape.Type, shape.KeyBytes, shape.ValueBytes, old.Type, old.KeyBytes, old.ValueBytes, ErrUnsupported)
	}
	for i, other := range shapes {
		if i != mapIndex && other.ID == shape.ID {
			return fmt.Errorf("watch map %s: it is the kernel's map %d, and so is %s; name it once", shape.Target, shape.ID, other.Target)
		}
	}
	return nil
}
