// Gestures on the chart: `zoom(factor, x)` around x, `pan(pixels)`, `point(x)` at x or nowhere,
// `step(points)` with the crosshair, `live()` back to now.

export function listen(canvas, { zoom, pan, point, step, live }) {
	const held = new Map();
	const apart = () => 1 + Math.abs([...held.values()].reduce((a, b) => a - b));
	const on = (names, act) => names.split(" ").forEach((name) => canvas.addEventListener(name, act, { passive: false }));

	on("pointerdown", (event) => {
		held.set(event.pointerId, event.offsetX);
		canvas.setPointerCapture(event.pointerId);
		point(event.offsetX);
	});
	on("pointermove", (event) => {
		const x = event.offsetX;
		const before = held.get(event.pointerId);
		const distance = held.size > 1 && apart();
		if (before !== undefined) {
			held.set(event.pointerId, x);
			if (distance) zoom(distance / apart(), x);
			else if (x !== before) pan(before - x);
		}
		point(x);
	});
	on("pointerup pointercancel", ({ pointerId }) => held.delete(pointerId));
	on("pointerleave blur", ({ pointerType }) => pointerType === "touch" || point());
	on("wheel", (event) => {
		event.preventDefault();
		const { deltaX, deltaY, shiftKey, ctrlKey } = event;
		if (shiftKey || Math.abs(deltaX) > Math.abs(deltaY)) pan(deltaX || deltaY);
		else zoom(Math.exp(deltaY * (ctrlKey ? 0.01 : 0.002)), event.offsetX);
	});
	on("keydown", (event) => {
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		const move = (direction) => () => (event.shiftKey ? pan((direction * canvas.clientWidth) / 10) : step(direction));
		const keys = {
			ArrowLeft: move(-1),
			ArrowRight: move(1),
			"+": () => zoom(0.7),
			"-": () => zoom(1.4),
			Escape: live,
		};
		if (!keys[event.key]) return;
		event.preventDefault();
		keys[event.key]();
	});
}
