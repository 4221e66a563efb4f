// One place for files or for a folder. Four files are on their way at a time; the bar is all that is drawn meanwhile.
const AT_ONCE = 4

async function inside(entry, path, into) {
  if (entry.isFile) {
    const file = await new Promise((found, missing) => entry.file(found, missing))
    into.push({ name: path + entry.name, file })
    return
  }
  const reader = entry.createReader()
  for (;;) {
    const some = await new Promise((found, missing) => reader.readEntries(found, missing))
    if (!some.length) return
    for (const one of some) await inside(one, path + entry.name + "/", into)
  }
}

export default function ({ parentElement, setTriggerValue, data }) {
  const find = (name) => parentElement.querySelector(name)
  const [place, label, input, going] = [find(".place"), find("label"), find("input"), find(".going")]
  const [bar, stop, words] = [find("progress"), find("button"), find("p")]

  find(".button").textContent = data.folder ? "Choose the folder" : "Choose the files"
  input.toggleAttribute("webkitdirectory", data.folder)

  async function send(files) {
    if (!files.length) return
    const random = crypto.getRandomValues(new Uint8Array(16))
    const batch = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")
    const queue = files.entries()
    let [done, problem] = [0, ""]
    const show = () => {
      bar.value = done
      words.textContent = `${done} of ${files.length} files`
    }
    label.hidden = true
    going.hidden = false
    bar.max = files.length
    stop.onclick = () => { problem = "Stopped. Choose them again." }
    show()
    async function work() {
      for (const [number, { file }] of queue) {
        if (problem) return
        try {
          const where = `${data.address}/${batch}/${number}`
          const answer = await fetch(where, { method: "PUT", body: file, headers: { "X-Easydl": "1" } })
          if (!answer.ok) problem = await answer.text()
        } catch {
          problem = "The app does not answer, or a file cannot be read. Choose them again."
        }
        if (problem) return
        done += 1
        show()
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work))
    input.value = ""
    going.hidden = true
    label.hidden = false
    if (problem) {
      words.textContent = problem
      return
    }
    words.textContent = `${done} files have arrived. Reading them`
    setTriggerValue("arrived", { batch, names: files.map((one) => one.name) })
  }

  input.onchange = () => send(Array.from(input.files, (file) => ({ name: file.webkitRelativePath || file.name, file })))
  place.ondragover = (event) => {
    event.preventDefault()
    place.classList.add("over")
  }
  place.ondragleave = () => place.classList.remove("over")
  place.ondrop = async (event) => {
    event.preventDefault()
    place.classList.remove("over")
    const files = []
    const entries = Array.from(event.dataTransfer.items, (item) => item.webkitGetAsEntry()).filter(Boolean)
    for (const entry of entries) await inside(entry, "", files)
    send(files)
  }
}
