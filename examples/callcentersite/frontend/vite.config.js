import { defineConfig } from "vite";

export default defineConfig({
  // What tests remember does not belong into the installed packages.
  cacheDir: process.env.CACHE_DIR ?? "node_modules/.vite",
  build: { outDir: process.env.OUT_DIR ?? "dist", emptyOutDir: true, reportCompressedSize: false },
});
