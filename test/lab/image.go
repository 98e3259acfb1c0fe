package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"
	"golang.org/x/sync/errgroup"

	"github.com/mapgossip/mapgossip/test/lab/kernels"
)

// system is what all guests that boot the same have in common; what differs is on their command lines.
type system struct{ series, arch string }

func (h HostConfig) system() system { return system{h.Kernel, h.Arch} }

// guestImage is what QEMU boots.
type guestImage struct{ kernel, initramfs string }

// buildImages fetches the kernels and makes an initramfs of each. inits has a labinit of each architecture.
func buildImages(ctx context.Context, c Config, inits map[string]string, folder string) (map[system]guestImage, error) {
	base, err := baseFiles(ctx, c)
	if err != nil {
		return nil, err
	}
	images := make(map[system]guestImage)
	for _, h := range c.Hosts {
		images[h.system()] = guestImage{initramfs: filepath.Join(folder, "initramfs-"+h.Kernel+"-"+h.Arch)}
	}
	type made struct {
		system system
		image  guestImage
	}
	results := make(chan made, len(images))
	group, ctx := errgroup.WithContext(ctx)
	for s, image := range images {
		group.Go(func() error {
			k, err := kernels.Fetch(ctx, s.series, s.arch, c.Progress)
			if err != nil {
				return err
			}
			image.kernel = k.Image
			results <- made{s, image}
			init := file{path: "/init", local: inits[s.arch]}
			return writeImage(image.initramfs, slices.Concat([]file{init}, base, moduleFiles(k)))
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	close(results)
	for m := range results {
		images[m.system] = m.image
	}
	return images, nil
}

// file is one file of an initramfs: a copy of a local file, given content, or a symbolic link.
type file struct {
	path    string // absolute
	local   string // copied with its permissions
	content []byte // if local and link are empty
	link    string
}

// baseFiles are in every guest.
func baseFiles(ctx context.Context, c Config) ([]file, error) {
	files := []file{
		{path: "/etc/passwd", content: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")},
		{path: "/etc/group", content: []byte("root:x:0:\nnogroup:x:65534:\n")},
		{path: "/etc/hosts"},
		{path: "/etc/nsswitch.conf", content: []byte("hosts: files\n")},
		{path: "/lab/.keep"},
	}
	for on, local := range c.Files {
		files = append(files, file{path: on, local: local})
	}
	for _, name := range c.Programs {
		more, err := programFiles(ctx, name)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, nil
}

func moduleFiles(k kernels.Kernel) (files []file) {
	var order strings.Builder
	for _, m := range k.Modules {
		fmt.Fprintln(&order, filepath.Base(m))
		files = append(files, file{path: "/modules/" + filepath.Base(m), local: m})
	}
	return append(files, file{path: "/modules/order", content: []byte(order.String())})
}

// writeImage is not compressed: emulated, unpacking costs more than reading.
func writeImage(to string, files []file) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := writeArchive(w, files); err != nil {
		return fmt.Errorf("write initramfs %s: %w", to, err)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// writeArchive writes a cpio archive of the kind that kernels read, directories first, each
// path once: the first counts.
func writeArchive(to io.Writer, files []file) error {
	w := cpio.NewWriter(to)
	seen := map[string]bool{"/": true}
	var directories func(p string) error
	directories = func(p string) error {
		if seen[p] {
			return nil
		}
		seen[p] = true
		if err := directories(path.Dir(p)); err != nil {
			return err
		}
		return w.WriteHeader(&cpio.Header{Name: p[1:], Mode: cpio.TypeDir | 0o755, Links: 2})
	}
	for _, f := range files {
		if seen[f.path] {
			continue
		}
		if err := directories(path.Dir(f.path)); err != nil {
			return err
		}
		seen[f.path] = true
		if err := writeOne(w, f); err != nil {
			return err
		}
	}
	return w.Close()
}

func writeOne(w *cpio.Writer, f file) error {
	h := &cpio.Header{Name: f.path[1:], Mode: cpio.TypeReg | 0o644, Links: 1}
	if f.link != "" {
		h.Mode, f.content = cpio.TypeSymlink|0o777, []byte(f.link)
	}
	if f.local == "" {
		h.Size = int64(len(f.content))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := w.Write(f.content)
		return err
	}
	in, err := os.Open(f.local)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	h.Mode, h.Size = cpio.TypeReg|cpio.FileMode(st.Mode().Perm()), st.Size()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}
